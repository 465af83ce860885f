"""Stands in for your app: many users ask, some press a thumb. Usage: traffic.py BASE_URL SECONDS"""

import csv
import http.client
import json
import random
import sys
import threading
import time
from urllib.parse import urlsplit

ADDRESS, SECONDS = urlsplit(sys.argv[1]), float(sys.argv[2])
PAUSE_S = 0.05  # between two questions of a customer, on average
with open("cases.csv") as rows:
    CASES = list(csv.DictReader(rows))
counts = {"answers": 0, "failures": 0}
end = time.monotonic() + SECONDS


def customer(number: int) -> None:
    pick = random.Random(number)
    line = http.client.HTTPConnection(ADDRESS.hostname, ADDRESS.port, timeout=10)

    def post(path: str, body: dict, **headers: str):
        line.request("POST", path, json.dumps(body), {"content-type": "application/json", **headers})
        got = line.getresponse()
        return got.status, got.getheader("x-understudy-exchange"), got.read()

    while time.monotonic() < end:
        time.sleep(pick.expovariate(1 / PAUSE_S))
        case = pick.choice(CASES)
        asked = {"model": "reply-drafting", "messages": [{"role": "user", "content": case["prompt"]}]}
        who = {"x-user-id": f"user-{pick.randrange(4000)}", "x-ticket-type": case["slice"]}
        status, exchange, body = post("/v1/chat/completions", asked, **who)
        counts["answers" if status == 200 else "failures"] += 1
        if status == 200 and pick.random() < 0.3:
            liked = "Kind regards" in json.loads(body)["choices"][0]["message"]["content"]
            post("/v1/feedback", {"exchange": exchange, "name": "thumb", "value": int(liked)})


threads = [threading.Thread(target=customer, args=(n,)) for n in range(12)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(counts))
sys.exit(1 if counts["failures"] else 0)
