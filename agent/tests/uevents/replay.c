/* Runs a program in a umockdev test bed with one battery and one adapter, and pulls the cable when the program has written its
 * first line. Run with LD_PRELOAD=libumockdev-preload.so.0; the library is opened by name, so that no headers are needed. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define AC "/devices/platform/ACPI0003:00/power_supply/AC"
#define BAT "/devices/platform/PNP0C0A:00/power_supply/BAT0"

static const char machine[] =
    "P: " AC "\nE: SUBSYSTEM=power_supply\nE: POWER_SUPPLY_ONLINE=1\nA: online=1\nA: type=Mains\n\n"
    "P: " BAT "\nE: SUBSYSTEM=power_supply\nA: type=Battery\nA: status=Charging\nA: capacity=80\nA: present=1\n\n";

int main(int count, char **arguments) {
    void *library = dlopen("libumockdev.so.0", RTLD_NOW);
    if (count < 2 || !library) { fprintf(stderr, "%s\n", library ? "no program" : dlerror()); return 77; }
    void *(*make)(void) = (void *(*)(void))dlsym(library, "umockdev_testbed_new");
    int (*add)(void *, const char *, void *) = (int (*)(void *, const char *, void *))dlsym(library, "umockdev_testbed_add_from_string");
    void (*set)(void *, const char *, const char *, const char *) =
        (void (*)(void *, const char *, const char *, const char *))dlsym(library, "umockdev_testbed_set_attribute");
    void (*uevent)(void *, const char *, const char *) =
        (void (*)(void *, const char *, const char *))dlsym(library, "umockdev_testbed_uevent");
    void *bed = make();
    if (!bed || !add(bed, machine, NULL)) return 78;
    int lines[2];
    if (pipe(lines)) return 79;
    pid_t child = fork();
    if (child == 0) {
        dup2(lines[1], STDOUT_FILENO);
        close(lines[0]);
        execv(arguments[1], arguments + 1);
        _exit(80);
    }
    close(lines[1]);
    FILE *output = fdopen(lines[0], "r");
    char line[4096];
    int pulled = 0;
    while (fgets(line, sizeof line, output)) {
        fputs(line, stdout);
        if (!pulled && strstr(line, "listening")) {
            pulled = 1;
            set(bed, "/sys" AC, "online", "0");
            set(bed, "/sys" BAT, "status", "Discharging");
            uevent(bed, "/sys" AC, "change");
        }
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 81;
}
