"""Asks the gateway one question with the official SDK. Usage: app.py BASE_URL QUESTION"""

import sys

import openai

base_url, question = sys.argv[1:]
client = openai.OpenAI(base_url=base_url, api_key="unused")
raw = client.chat.completions.with_raw_response.create(
    model="reply-drafting",  # the workload
    messages=[{"role": "user", "content": question}],
    extra_headers={"x-user-id": "user-17", "x-ticket-type": "delivery"},
)
print(raw.parse().choices[0].message.content)

said = raw.headers
print(f"answered by {said['x-understudy-variant']}, exchange {said['x-understudy-exchange']}")
feedback = {"exchange": said["x-understudy-exchange"], "name": "thumb", "value": 1}
client.post("/feedback", body=feedback, cast_to=object)
