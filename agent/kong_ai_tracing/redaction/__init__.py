"""What must not leave: what it looks like, how it is found, and how a text is kept whole without it.

`rules` and `personal` say what there is to find, `named` what a name like `password` gives away, `finder`
asks one engine for all of them at once, `texts` takes it out of running text and `cleaner` out of JSON.
"""
