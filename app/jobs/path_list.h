// A list of images in a file: the names that it holds, and the files that they mean.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"

// By extension, in any case: .txt, .lst, .json, .jsonl, .csv, .tsv.
bool is_list_name(const std::filesystem::path& path);

// The images of a list, which is one of
//
//   text         a name per line, without blanks and quotes around it
//   JSON         an array of names or of objects with "file", "path", ...
//   JSON         an object whose "images" is such an array
//   JSON lines   such a value per line, as classify writes
//   .csv, .tsv   a column path, file, filename, filepath, file_name or image
//
// in UTF-8 or UTF-16. Names in a text may also end in zero bytes, as `find -print0` writes them. A table may have a
// column relativepath, the folder of the name, or no header and the names in its first column. A name is looked for as
// it stands, then with slashes for backslashes, both from the current folder, then from that of the list, then in the
// other form of Unicode (NFC, NFD). A name that is not found stays in the result.
//
// Fault::usage if the list cannot be read or is none of these; NoImages if none of the images that it names exists.
struct NoImages : Error {  // Fault::usage: nothing is where the arguments say
    explicit NoImages(const std::string& text) : Error(Fault::usage, text) {}
};
struct ListedImages {
    std::vector<std::string> paths;
    std::vector<std::string> notes;
};
ListedImages read_path_list(const std::string& list);
