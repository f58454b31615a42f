// Tells one missing image from a drive that went away.
#pragma once

#include <string>
#include <vector>

#include "data/image.h"

// Images that could be read. When another one cannot be opened, they are tried again: if none of them can be opened any
// more either, the fault is not with the image.
class DriveWatch {
public:
    void was_read(const std::string& path);
    // Fault::environment if `path`, which had this trouble, seems to be gone with its whole drive.
    void check(const std::string& path, const std::string& trouble) const;

private:
    std::vector<std::string> seen_;  // the first and the latest
};
