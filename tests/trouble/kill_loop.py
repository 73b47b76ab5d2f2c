#!/usr/bin/python3
"""Kills processes at seeded random instants and starts them again: kill_loop.py PLAN.json [--kills N] [--seed S].

PLAN.json: {"processes": [{"name": "a1", "command": ["mainstay", "serve", …]}, …],
            "pause_s": [0.05, 1.5],            time between two kills, drawn evenly
            "down_s": [0.0, 0.5],              time a killed process stays down
            "settle": ["command", …],          ends with 0 when the flow has finished (run after the last kill)
            "audit": ["command", …]}           its exit status is the verdict
Every process is killed with SIGKILL by its own id, every one at least once when N allows. Logs: NAME.log beside the plan.
"""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import time


class Victim:
    def __init__(self, plan, directory):
        self.name, self.command = plan["name"], plan["command"]
        self.log = open(directory / f"{self.name}.log", "ab")
        self.process, self.kills = None, 0

    def start(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)

    def ended_by_itself(self):
        return self.process.poll() is not None

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.kills += 1


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("plan", type=pathlib.Path)
    options.add_argument("--kills", type=int, default=50)
    options.add_argument("--seed", type=int, default=1)
    options = options.parse_args()
    plan = json.loads(options.plan.read_text())
    rng = random.Random(options.seed)
    print(f"seed {options.seed}, {options.kills} kills of {[p['name'] for p in plan['processes']]}", flush=True)
    victims = [Victim(p, options.plan.resolve().parent) for p in plan["processes"]]
    status = 1
    try:
        for victim in victims:
            victim.start()
        order = [victims[n % len(victims)] for n in range(options.kills)]
        rng.shuffle(order)
        for number, victim in enumerate(order, 1):
            time.sleep(rng.uniform(*plan.get("pause_s", [0.05, 1.5])))
            crashed = [v for v in victims if v.ended_by_itself()]
            if crashed:
                print(f"not ok - {crashed[0].name} ended by itself with status {crashed[0].process.returncode}; see its log", flush=True)
                return 1
            victim.kill()
            print(f"kill {number}/{options.kills}: {victim.name}", flush=True)
            time.sleep(rng.uniform(*plan.get("down_s", [0.0, 0.5])))
            victim.start()
        if plan.get("settle") and subprocess.run(plan["settle"]).returncode != 0:
            print("not ok - the flow did not finish after the last kill", flush=True)
            return 1
        status = subprocess.run(plan["audit"]).returncode
        print(("ok" if status == 0 else "not ok") + f" - audit after {options.kills} kills "
              f"({', '.join(f'{v.name} {v.kills}' for v in victims)}), seed {options.seed}", flush=True)
    finally:
        for victim in victims:
            if victim.process is not None and not victim.ended_by_itself():
                victim.process.kill()
                victim.process.wait()
    return status


sys.exit(main())
