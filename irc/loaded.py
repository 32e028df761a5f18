"""When this process loaded irc: what the files of irc say is what runs here only if they are older."""

import time

LOADED_AT = time.time()
