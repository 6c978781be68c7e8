"""Measures engines on one model file in turns: `compare.py AGENT MODEL ROUNDS THREADS [LLAMA-BENCH PATH]`.

AGENT is `ouro-agent`; what follows THREADS is the command that runs llama-bench and the model's path as that sees it, or
nothing. THREADS is a list with commas. Processor time is what the kernel charged the process: a figure that other
programs on the machine disturb less than wall time. llama-bench tells only wall time, so its processor time is the difference
of a run with three repetitions and one with one. Of all rounds the best figure stands, with the load at its beginning.
"""

import json
import os
import resource
import subprocess
import sys
import time

agent, model, rounds, threads = sys.argv[1:5]
peer = sys.argv[5:]
PROMPT, DECODE = 128, 16
size = os.path.getsize(model)


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


def ours(kernels, count):
    command = [agent, "bench", model, "-p", str(PROMPT), "-n", str(DECODE), "-t", count, "-r", "1", "--output", "json"]
    if kernels == "best":
        command += ["--batch", "4,8,16"]
    figures = json.loads(run(command, {"OURO_ENGINE_KERNELS": kernels}.items())[0])
    made = {
        "prefill": figures["prefill"]["per_s"],
        "prefill/cpu": figures["prefill"]["per_cpu_s"],
        "decode": figures["decode"]["per_s"],
        "decode/cpu": figures["decode"]["per_cpu_s"],
        "first token s": figures["first_token_s"],
        "resident/file": figures["resident_bytes"] / size,
        "resident/file, no context": (figures["resident_bytes"] - figures["context_cache_bytes"]) / size,
    }
    if figures["read_bytes_per_s"]:
        made["read GB/s"] = figures["read_bytes_per_s"] / 1e9
    for batch in figures["batches"]:
        made[f"batch {batch['sequences']}"] = batch["decode"]["per_s"]
        made[f"batch {batch['sequences']}/cpu"] = batch["decode"]["per_cpu_s"]
    return made


def theirs(count):
    def bench(*words):
        command = peer[:-1] + ["-m", peer[-1], "-t", count, "-o", "json", *words]
        out, wall, cpu = run(command)
        return json.loads(out)[0]["avg_ts"], wall, cpu

    made = {}
    for name, words, tokens in [("prefill", ("-p", str(PROMPT), "-n", "0"), PROMPT), ("decode", ("-p", "0", "-n", str(DECODE)), DECODE)]:
        _, _, once = bench(*words, "-r", "1")
        rate, _, thrice = bench(*words, "-r", "3")
        made[name] = rate
        made[name + "/cpu"] = 2 * tokens / max(thrice - once, 1e-9)
    made["first token s"] = bench("-p", str(PROMPT), "-n", "0", "-r", "1", "--no-warmup")[1]
    return made


LESS_IS_BETTER = {"first token s", "resident/file", "resident/file, no context"}


def better(name, a, b):
    return min(a, b) if name in LESS_IS_BETTER else max(a, b)


for count in threads.split(","):
    best, loads = {}, {}
    for _ in range(int(rounds)):
        for engine in ["ouro", "ouro avx2", "ouro candle"] + (["llama.cpp"] if peer else []):
            before = load()
            kernels = {"ouro": "best", "ouro avx2": "avx2", "ouro candle": "candle"}.get(engine)
            for name, value in (ours(kernels, count) if kernels else theirs(count)).items():
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
            print(line)
