// Processors that this process may run on: what taskset, Slurm or a container's cpuset left it.
#pragma once

int usable_processors();
