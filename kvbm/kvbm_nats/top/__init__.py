"""`kvbm top`: a live screen of one instance, made of `live`'s views. It needs the extra `[top]`.

Every panel is a function from a view to text, which says everything without colour; `app` puts them on the screen.
"""
