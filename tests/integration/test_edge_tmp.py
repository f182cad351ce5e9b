import time
from contextlib import closing
from tests.integration.test_projections import *
from tests.integration.test_projections import place, queued, succeeded
async def test_x(place):
    t=time.time()
    for start in range(0, 10000, 500):
        await place.log.append([Append("job", f"j-{n}", 0, [queued(f"j-{n}"), succeeded(f"j-{n}")]) for n in range(start,start+500)])
        print(start, time.time()-t, flush=True)
