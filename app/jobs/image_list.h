// Which images a command line means. The same arguments mean the same to every command:
//
//   folder        all images below it, by name
//   @LIST         the images of a list (app/jobs/path_list.h)
//   LIST.txt      a list, too; .lst, .json, .jsonl, .csv, .tsv likewise
//   'dir/*.jpg'   the images and folders that match, by name
//   image         the file itself
//
// Images of a list may be missing. Patterns have *, ? or [...] and stand in quotes.
// An image that is named several times, in whatever spelling, counts once.
#pragma once

#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "app/jobs/names.h"

struct ImagePaths {
    std::vector<std::string> paths;  // in the order of the arguments
    std::vector<std::string> notes;  // folders that could not be read, videos that were left out
};

// What the arguments name on disk, such as the lists themselves.
std::vector<std::filesystem::path> named_files(const std::vector<std::string>& arguments);

// Fault::usage if an argument does not exist, or if there is no image at all; Fault::environment where `journal`, which
// an interrupted run has left, shows that there were images: their drive may be missing.
ImagePaths find_images(const std::vector<std::string>& arguments, const std::filesystem::path& journal);

// Images under the names that result files give them: relative to a base folder.
struct ImageList {
    std::filesystem::path base;
    Names files;  // '/' between parts
    std::vector<std::string> notes;
};

// `base`: if empty, the folder if that is the only argument, else the deepest folder that contains all images.
// Fault::usage as find_images(), and if an image lies outside `base`.
ImageList list_images_below(const std::vector<std::string>& arguments, const std::filesystem::path& journal,
                            const std::string& base = "");

// Notes on images of earlier runs that the list of now lacks: how many there are, and how many are not on the disk.
void tell_earlier(const std::filesystem::path& base, const std::set<std::string>& json_names,
                  const std::function<void(const std::string&)>& note);

// Without the images in `folder`, where it lies below the base: a folder of results, which gets images such as copies.
// Fault::usage if it is not ours yet and holds images: they are the user's.
void leave_out(ImageList& list, const std::filesystem::path& folder, bool is_ours,
               const std::function<void(const std::string&)>& note);
