"""The store of many runs: SQLite in one file, or PostgreSQL by URL; needs `pip install 'trt-harness[store]'`.

`database` opens a store and brings it up to date (`steps`), `adding` takes runs in, `reading` gives them back.
Only they and `tables` import SQLAlchemy; `unstable` says by which rule a case is called that.
"""
