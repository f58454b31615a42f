// Which images a command line means: folders, files, and lists of files.
#pragma once

#include <string>
#include <vector>

struct Inputs {
    std::vector<std::string> paths;  // in the order in which they were named; a folder's by name
    std::vector<std::string> notes;  // folders that could not be read
};

// An argument is a folder (with all that is below it), an image, or a text file of paths, one per line: @LIST, or
// LIST.txt. Errors (usage): an argument that is not there, no image at all. What a list names may be missing.
Inputs collect_inputs(const std::vector<std::string>& arguments);
