"""`davserver check-url`: examines a running server, through whatever stands in front of it.

It speaks as a client does, in a folder of its own that it removes again, and says what is broken
and which line of which proxy's configuration mends it.
"""
