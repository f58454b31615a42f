// A list of images in a file: the names that it holds, and the files that they mean.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

// By extension, in any case: .txt, .lst, .json, .jsonl, .csv, .tsv.
bool is_list_name(const std::filesystem::path& path);

// The images of a list, which is one of
//   text: a name per line (or before each zero byte, as `find -print0` writes), without the blanks and quotes around
//   it; JSON: an array of names; or of objects with "file", "file_name", "path", ...; or an object whose "images" is
//   such an array: COCO, results of MegaDetector. Also one such value per line, as classify writes; .csv, .tsv: a
//   column path (file, filename, filepath, file_name, image), and maybe relativepath, its folder; or names in the first
//   column without a header,
// in UTF-8 or UTF-16. A name is looked for as it stands, then with slashes for backslashes, both from the current
// folder, then from that of the list, then in the other form of Unicode (NFC, NFD). A name that is not found stays in
// the result.
//
// Fault::usage if the list cannot be read, is none of these, or names images of which none exists.
struct ListedImages {
    std::vector<std::string> paths;
    std::vector<std::string> notes;
};
ListedImages read_path_list(const std::string& list);
