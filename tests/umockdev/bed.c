/* Runs a program in a umockdev test bed: bed MACHINE COMMANDS PROGRAM ARGUMENT…
 *
 * MACHINE is a description that umockdev reads (as `umockdev-record` writes them). COMMANDS is a pipe of which each line is
 * carried out: `set DEVICE ATTRIBUTE VALUE`, `uevent DEVICE ACTION`, `add FILE`, `remove DEVICE`. Devices are named below sys.
 * The program takes this process's place; the commands are read by a child that ends with it. Needs the preload library in
 * LD_PRELOAD; the library itself is opened by name, so that no headers are needed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static void *library;
static void *find(const char *name) {
    void *found = dlsym(library, name);
    if (!found) { fprintf(stderr, "bed: %s\n", dlerror()); exit(78); }
    return found;
}

int main(int count, char **arguments) {
    library = dlopen("libumockdev.so.0", RTLD_NOW);
    if (count < 4 || !library) { fprintf(stderr, "bed: %s\n", library ? "too few arguments" : dlerror()); return 77; }
    void *(*make)(void) = (void *(*)(void))find("umockdev_testbed_new");
    int (*add)(void *, const char *, void *) = (int (*)(void *, const char *, void *))find("umockdev_testbed_add_from_file");
    void (*set)(void *, const char *, const char *, const char *) =
        (void (*)(void *, const char *, const char *, const char *))find("umockdev_testbed_set_attribute");
    void (*uevent)(void *, const char *, const char *) = (void (*)(void *, const char *, const char *))find("umockdev_testbed_uevent");
    void (*take)(void *, const char *) = (void (*)(void *, const char *))find("umockdev_testbed_remove_device");
    void *bed = make();
    if (!bed || !add(bed, arguments[1], NULL)) { fprintf(stderr, "bed: %s cannot be read\n", arguments[1]); return 79; }
    pid_t program = getpid();
    pid_t reader = fork();
    if (reader != 0) { execv(arguments[3], arguments + 3); perror(arguments[3]); return 80; }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != program) return 81;
    /* Open for writing too, so that the end of one writer is not the end of all. */
    int pipe = open(arguments[2], O_RDWR);
    FILE *commands = pipe < 0 ? NULL : fdopen(pipe, "r");
    if (!commands) { perror(arguments[2]); return 82; }
    char line[4096], verb[16], device[2048], third[256], path[2080];
    while (fgets(line, sizeof line, commands)) {
        int value = 0;
        int words = sscanf(line, "%15s %2047s %255s %n", verb, device, third, &value);
        if (words < 2 || line[0] == '#') continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(path, sizeof path, "/sys%s", device);
        if (!strcmp(verb, "set") && words == 3) set(bed, path, third, line + value);
        else if (!strcmp(verb, "uevent") && words == 3) uevent(bed, path, third);
        else if (!strcmp(verb, "add")) { if (!add(bed, device, NULL)) fprintf(stderr, "bed: %s cannot be added\n", device); }
        else if (!strcmp(verb, "remove")) { uevent(bed, path, "remove"); take(bed, path); }
        else fprintf(stderr, "bed: no such command: %s\n", line);
    }
    return 0;
}
