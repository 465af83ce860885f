"""Finds names of models in a tree of sources and configuration, and says which of them float, go or are gone"""
