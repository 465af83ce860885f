"""The control store: the journals of all upgrades and the few tables around them, behind one interface.

`base` says what a store does, `sql` does it on SQLite (or another database of SQLAlchemy's), `memory` in a
dictionary. Nothing here decides anything. Import the module you need: `sql` is heavy.
"""
