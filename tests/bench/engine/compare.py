"""Measures engines on one model file in turns: `compare.py AGENT MODEL ROUNDS THREADS [LLAMA-BENCH PATH]`.

AGENT is `ouro-agent`; what follows THREADS is the command that runs llama-bench and the model's path as that sees it, or
nothing. THREADS is a list with commas. Processor time is what the kernel charged the process: a figure that other
programs on the machine disturb less than wall time. llama-bench tells only wall time, so its processor time is the difference
of a run with three repetitions and one with one. Of all rounds the best figure stands, with the load at its beginning.

The file leaves the page cache first: who reads it then decides about the size of the cache's pages, and keeps them for all.
With as many threads as the machine has, both engines run once more while two compilers work beside them (ENGINE_LOADED=0 leaves
that out); ENGINE_CANDLE=1 also measures candle's own products.
"""

import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

import gguf

agent, model, rounds, threads = sys.argv[1:5]
peer = sys.argv[5:]
PROMPT, DECODE = 128, 16
size = os.path.getsize(model)
tensors = {tensor.name: int(tensor.n_bytes) for tensor in gguf.GGUFReader(model).tensors}
# A token reads every matrix once, of the embedding one row; where there is no output matrix, the embedding is that too.
per_token = sum(tensors.values()) - (tensors.get("token_embd.weight", 0) if "output.weight" in tensors else 0)


def load():
    return os.getloadavg()[0]


def run(command, environment=()):
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    made = subprocess.run(command, env=dict(os.environ, **dict(environment)), capture_output=True, text=True)
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if made.returncode != 0:
        sys.exit(f"{' '.join(command)}: {made.stderr.strip()[-500:]}")
    return made.stdout, wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ours(kernels, count, batches=True):
    command = [agent, "bench", model, "-p", str(PROMPT), "-n", str(DECODE), "-t", count, "-r", "2", "--output", "json"]
    if kernels == "best" and batches:
        command += ["--batch", "4,8,16"]
    # The command starts itself a second time for the model; what that costs belongs to the first token.
    start = 2 * run([agent, "--version"])[1]
    figures = json.loads(run(command, {"OURO_ENGINE_KERNELS": kernels}.items())[0])
    made = {
        "prefill": figures["prefill"]["per_s"],
        "prefill/cpu": figures["prefill"]["per_cpu_s"],
        "decode": figures["decode"]["per_s"],
        "decode/cpu": figures["decode"]["per_cpu_s"],
        "first token s": figures["first_token_s"] + start,
        "resident/file": figures["resident_bytes"] / size,
        "resident/file, no context": (figures["resident_bytes"] - figures["context_cache_bytes"]) / size,
    }
    if figures["read_bytes_per_s"]:
        made["STREAM read GB/s"] = figures["read_bytes_per_s"] / 1e9
        made["decode of STREAM read"] = figures["decode"]["per_s"] * per_token / figures["read_bytes_per_s"]
    if figures["decode_read_share"]:
        made["weights read GB/s"] = figures["weights_read_bytes_per_s"] / 1e9
        made["decode of weights' read"] = figures["decode_read_share"]
    for batch in figures["batches"]:
        made[f"batch {batch['sequences']}"] = batch["decode"]["per_s"]
        made[f"batch {batch['sequences']}/cpu"] = batch["decode"]["per_cpu_s"]
    return made


def llama(count, *words):
    command = peer[:-1] + ["-m", peer[-1], "-t", count, "-o", "json", *words]
    out, wall, cpu = run(command)
    return json.loads(out)[0]["avg_ts"], wall, cpu


TASKS = [("prefill", ("-p", str(PROMPT), "-n", "0"), PROMPT), ("decode", ("-p", "0", "-n", str(DECODE)), DECODE)]


def theirs(count):
    made = {}
    for name, words, tokens in TASKS:
        _, _, once = llama(count, *words, "-r", "1")
        rate, _, thrice = llama(count, *words, "-r", "3")
        made[name] = rate
        made[name + "/cpu"] = 2 * tokens / max(thrice - once, 1e-9)
    made["first token s"] = llama(count, "-p", str(PROMPT), "-n", "0", "-r", "1", "--no-warmup")[1]
    return made


@contextlib.contextmanager
def compilers():
    """Two compilers that never rest."""
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "work.c")
        with open(source, "w") as file:
            for i in range(3000):
                file.write(f"int f{i}(int *a, int n) {{ int s = {i}; for (int j = 0; j < n; j++) s = s * 31 + a[j] % (j + {i + 1}); return s; }}\n")
        loop = 'while :; do cc -O2 -c "$0" -o "$1"; done'
        running = [
            subprocess.Popen(["sh", "-c", loop, source, os.path.join(folder, f"{i}.o")], start_new_session=True) for i in range(2)
        ]
        try:
            time.sleep(1)
            yield
        finally:
            for process in running:
                os.killpg(process.pid, 9)
                process.wait()


LESS_IS_BETTER = {"first token s", "resident/file", "resident/file, no context"}
ENGINES = ["ouro", "ouro avx2"] + (["ouro candle"] if os.environ.get("ENGINE_CANDLE") else []) + (["llama.cpp"] if peer else [])
KERNELS = {"ouro": "best", "ouro avx2": "avx2", "ouro candle": "candle"}


def better(name, a, b):
    return min(a, b) if name in LESS_IS_BETTER else max(a, b)


def under_load(best, count):
    print(f"\nthe same with two compilers beside it, {count} threads: what is left of the rate at rest")
    with compilers():
        for engine in ["ouro"] + (["llama.cpp"] if peer else []):
            before = load()
            if engine == "ouro":
                found = ours("best", count, batches=False)
            else:
                found = {name: llama(count, *words, "-r", "2")[0] for name, words, _ in TASKS}
            for name in ["prefill", "decode"]:
                print(f"{engine:12} {name:26} {found[name]:9.2f}  [load {before:.1f}]  {found[name] / best[engine][name]:5.2f} of {best[engine][name]:.2f}")


file = os.open(model, os.O_RDONLY)
os.fsync(file)
os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
os.close(file)
for count in threads.split(","):
    best, loads = {}, {}
    for _ in range(int(rounds)):
        for engine in ENGINES:
            before = load()
            for name, value in (ours(KERNELS[engine], count) if engine in KERNELS else theirs(count)).items():
                old = best.setdefault(engine, {}).get(name)
                if old is None or better(name, old, value) != old:
                    best[engine][name] = value
                    loads[engine, name] = before
    print(f"\n{os.path.basename(model)}, {count} threads; tokens/s, /cpu per second of processor time; [load of the machine]")
    for engine, figures in best.items():
        for name, value in figures.items():
            line = f"{engine:12} {name:26} {value:9.2f}  [load {loads[engine, name]:.1f}]"
            reference = best.get("llama.cpp", {}).get(name)
            if reference and engine != "llama.cpp":
                line += f"  {value / reference:5.2f} x llama.cpp"
            plain = best.get("ouro candle", {}).get(name)
            if plain and engine in ("ouro", "ouro avx2"):
                line += f"  {value / plain:5.2f} x candle"
            kind = "decode/cpu" if name.endswith("/cpu") else "decode"
            if name.startswith("batch"):
                line += f"  {value / figures[kind]:5.2f} x one sequence"
            print(line, flush=True)
    if int(count) == os.cpu_count() and os.environ.get("ENGINE_LOADED", "1") != "0":
        under_load(best, count)
