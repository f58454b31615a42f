// The part of a list of images that a run processes.
#pragma once

#include <cstddef>
#include <string>

struct Shard {
    size_t number = 1, of = 1;  // from 1
};
Shard parse_shard(const std::string& text);  // "3/8"; Fault::usage

// Where `shard` is "auto" or "auto/8": which shard this process has as a task of a Slurm array or as a rank of MPI.
// The number of shards is that of the text; else of what an earlier run of this shard left; else of a whole array, or
// of the ranks. Also puts the shard's number where `out`, a result file or the folder of a survey, says {shard}. Errors
// (usage): a process that is neither; a task alone that cannot know of how many it is one; an array that does not count
// from 1.
void take_own_shard(std::string& shard, std::string& out);
