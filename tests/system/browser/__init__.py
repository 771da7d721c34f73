"""The admin's pages in a real browser, on the real stack: the site, a worker, a broker and a cache.

Every page is served with a strict Content-Security-Policy here, and no test passes with an error in the
browser's console.
"""
