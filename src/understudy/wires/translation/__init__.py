"""The dialects' chat requests, answers and streams, each read into and written from one neutral form."""
