"""The pinned models, what their names promise, and how long they live"""
