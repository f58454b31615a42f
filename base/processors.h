// The number of processors that this process may use: taskset, Slurm or a container may allow fewer than there are.
#pragma once

int usable_processors();
