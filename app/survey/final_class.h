// What an image shows first of all, and whether its species count: one rule for table, page, measures and export.
#pragma once

#include <cstdint>
#include <string>

enum class FinalClass : uint8_t { animal, empty, bad, human, repeated, failed };
const char* final_name(FinalClass final);

// In the order of the paper (Celis et al. 2024): animal or empty, then bad, then human. `repeated`: all boxes of
// animals are repeats.
FinalClass final_of(bool animal, bool repeated, bool bad, bool human);

// The species of an image stand beside its class whatever that is, unless a person gave it another class than animal.
// They are visits, observations and answers to measure where this holds: an animal beside a person is there, what a
// model calls an animal in a bad image need not be.
bool shows_animals(const std::string& final);
