"""`kvbm web`: the explaining commands' answers as pages. `docs/web.md` shows them.

Rules
1. A page asks what a command asks, by the same function, and says which command that is. Its `.json` twin is what `--json` writes.
2. Nothing is changed by any request, and nothing asks the owner.
3. What a browser is given is complete without scripts; they only copy, move through time, and show what comes.
4. No text gets into a page unescaped: names of requests come from whoever uses the engine.
"""
