/* A stand-in for libnvidia-ml.so with two GPUs. What happens is in the file CONTROL, read anew at each call, so that a test
 * can change it in mid-run: "normal", "no-driver", "lost" (the second GPU is off the bus), "unknown" (the second GPU's
 * thermometer fails), "hot" (the first GPU is slowed down by heat), "fill A B" (the processes A and B have a gigabyte each on the
 * first GPU, and another one what is left but for half of one). Return codes and layouts are those of nvml.h. */
#include <stdio.h>
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15, UNKNOWN = 999 };

typedef struct gpu { unsigned index; } *device;
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } pci_info;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory;
typedef struct { unsigned pid; unsigned long long memory; unsigned gpu_instance, compute_instance; } process;

static struct gpu gpus[2] = { { 0 }, { 1 } };

static void control(char *text, int length) {
    FILE *file = fopen(CONTROL, "r");
    text[0] = 0;
    if (!file) return;
    if (!fgets(text, length, file)) text[0] = 0;
    fclose(file);
    text[strcspn(text, "\n")] = 0;
}

static int is(const char *mode) {
    char text[64];
    control(text, sizeof text);
    return !strcmp(text, mode);
}

static int filled_by(unsigned pids[2]) {
    char text[64];
    control(text, sizeof text);
    return sscanf(text, "fill %u %u", &pids[0], &pids[1]) == 2;
}

#define ALIVE(d) if ((d)->index == 1 && is("lost")) return GPU_IS_LOST

int nvmlInit_v2(void) { return is("no-driver") ? DRIVER_NOT_LOADED : SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { (void)code; return "fake"; }
int nvmlSystemGetDriverVersion(char *text, unsigned length) { snprintf(text, length, "570.42.01"); return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return SUCCESS; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, device *out) {
    if (index > 1) return UNKNOWN;
    ALIVE(&gpus[index]);
    *out = &gpus[index];
    return SUCCESS;
}
int nvmlDeviceGetPciInfo_v3(device d, pci_info *out) {
    ALIVE(d);
    memset(out, 0, sizeof *out);
    out->bus = d->index + 1;
    out->id = 0x268410de;
    snprintf(out->bus_id, sizeof out->bus_id, "00000000:%02X:00.0", out->bus);
    return SUCCESS;
}
int nvmlDeviceGetName(device d, char *text, unsigned length) { ALIVE(d); snprintf(text, length, "Fake RTX %u", d->index); return SUCCESS; }
int nvmlDeviceGetMemoryInfo_v2(device d, memory *out) {
    ALIVE(d);
    out->total = 24ull << 30; out->reserved = 0; out->used = 1ull << 30; out->free = 23ull << 30;
    return SUCCESS;
}
int nvmlDeviceGetTemperature(device d, int sensor, unsigned *c) {
    (void)sensor; ALIVE(d);
    if (d->index == 1 && is("unknown")) return UNKNOWN;
    *c = is("hot") && d->index == 0 ? 91 : 55 + d->index;
    return SUCCESS;
}
int nvmlDeviceGetTemperatureThreshold(device d, int kind, unsigned *c) { (void)kind; ALIVE(d); *c = 92; return SUCCESS; }
int nvmlDeviceGetCurrPcieLinkGeneration(device d, unsigned *v) { ALIVE(d); *v = 1; return SUCCESS; }
int nvmlDeviceGetCurrPcieLinkWidth(device d, unsigned *v) { ALIVE(d); *v = 8; return SUCCESS; }
int nvmlDeviceGetMaxPcieLinkGeneration(device d, unsigned *v) { ALIVE(d); *v = 4; return SUCCESS; }
int nvmlDeviceGetMaxPcieLinkWidth(device d, unsigned *v) { ALIVE(d); *v = 16; return SUCCESS; }
int nvmlDeviceGetCudaComputeCapability(device d, int *major, int *minor) { ALIVE(d); *major = 8; *minor = 9; return SUCCESS; }
int nvmlDeviceGetEnforcedPowerLimit(device d, unsigned *mw) { ALIVE(d); *mw = 320500; return SUCCESS; }
int nvmlDeviceGetClockInfo(device d, int kind, unsigned *mhz) { (void)kind; ALIVE(d); *mhz = is("hot") ? 750 : 210; return SUCCESS; }
int nvmlDeviceGetMaxClockInfo(device d, int kind, unsigned *mhz) { (void)kind; ALIVE(d); *mhz = 3000; return SUCCESS; }
int nvmlDeviceGetCurrentClocksThrottleReasons(device d, unsigned long long *bits) {
    ALIVE(d);
    *bits = is("hot") && d->index == 0 ? 0x40 | 0x8 : 0x1; /* thermal slowdown of the hardware; idle */
    return SUCCESS;
}
int nvmlDeviceGetComputeRunningProcesses_v3(device d, unsigned *count, process *out) {
    ALIVE(d);
    unsigned pids[2];
    if (d->index == 1) { *count = 0; return SUCCESS; }
    if (filled_by(pids)) {
        if (!out || *count < 3) { *count = 3; return INSUFFICIENT_SIZE; }
        memset(out, 0, 3 * sizeof *out);
        for (int i = 0; i < 2; i++) { out[i].pid = pids[i]; out[i].memory = 1ull << 30; }
        out[2].pid = 4242; out[2].memory = 43ull << 29;
        *count = 3;
        return SUCCESS;
    }
    if (!out || *count < 2) { *count = 2; return INSUFFICIENT_SIZE; }
    memset(out, 0, 2 * sizeof *out);
    out[0].pid = 4242; out[0].memory = 1ull << 30;
    out[1].pid = 99; out[1].memory = ~0ull; /* NVML_VALUE_NOT_AVAILABLE */
    *count = 2;
    return SUCCESS;
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(device d, unsigned *count, process *out) {
    ALIVE(d);
    if (d->index == 1) { *count = 0; return SUCCESS; }
    if (!out || *count < 1) { *count = 1; return INSUFFICIENT_SIZE; }
    memset(out, 0, sizeof *out);
    out[0].pid = 4242; out[0].memory = 5;
    *count = 1;
    return SUCCESS;
}
