"""The federation of the course as a Flower app, and what crosses its wire.

    app.py         ServerApp and ClientApp: the same federated averaging as ``leaklab.federation``
    strategy.py    FedAvg that refuses what cannot be averaged
    secure_sum.py  the same federation behind secure aggregation
    local_grid.py  runs both apps inside this process: no sockets, no Ray
    wiretap.py     copies every message between them
    capture.py     a federation as a folder of files, and back to ``Update`` values (needs no flwr)

The extra ``leaklab[flower]`` installs Flower 1.41 (Beutel et al., 2020, arXiv:2007.14390). One app
runs in three runtimes: in process, ``flwr run`` on Ray, and SuperLink with SuperNodes over TLS.
"""

import os

from leaklab.flower.capture import replay

# Flower reads these when it is imported: nothing is reported, looked up or installed at run time.
HYGIENE = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
for _name, _value in HYGIENE.items():
    os.environ.setdefault(_name, _value)

__all__ = ["replay"]
