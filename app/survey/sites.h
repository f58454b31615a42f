// Where cameras stand, and which animals occur there.
//
// sites.csv: site,latitude,longitude,classes,not_classes. `classes`: the only animals that occur, `not_classes`: those
// that do not, both with | between names; empty: no limit. All columns but site may be missing. The site of an image is
// the first folder in its name that is called so ("cards/river/100EK113/a.jpg" for the site "river").
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "app/detect/detection.h"
#include "app/jobs/names.h"

struct Site {
    std::string name;
    std::string latitude = {}, longitude = {};  // degrees, as the file has them; empty: not known
    std::vector<bool> excluded = {};            // by class; empty: none
};

class Sites {
public:
    Sites() = default;  // none are listed: an image's site is the first folder of its name
    // `classes`: of the species model; `always`: classes that `classes` need not list, because they are no animals.
    // Fault::usage for a column or class that is not known, a name that occurs twice, a bad coordinate.
    Sites(const std::filesystem::path& csv, const std::vector<std::string>& classes,
          const std::vector<std::string>& always);

    std::string name_of(const std::string& file) const;  // "" if no site fits
    const Site* find(const std::string& name) const;
    // Fault::usage if a file belongs to no site of the list; a note for sites without images, else "".
    std::string check(const Names& files) const;

private:
    std::vector<Site> sites_;
    std::string csv_;
};

// Without the classes that do not occur: the next one is the answer. Scores stay as they are.
void exclude(ClassScores& scores, const Site* site);
