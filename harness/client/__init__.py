"""Clients that judge an appliance from outside: HTTPS, SSE, TLS, openai-python and Node's fetch.

They measure and report; whether a measurement is good enough is decided in suites/.
"""
