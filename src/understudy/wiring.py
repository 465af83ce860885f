"""The only module that knows every concrete adapter: it puts the parts of each process together."""
