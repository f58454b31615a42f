// Scalars and arrays of NumPy inside a pickle, as JSON: names and numbers of classes, means and deviations.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>

#include "models/files/pickle.h"

// A number, a text (its first 1,000 characters), or a list of them (the elements of an array, in order, at most
// `limit`). null if `value` is nothing of these, of another type or byte order, or larger than 1 MiB.
nlohmann::json numpy_value(PickleValue value, size_t limit);
