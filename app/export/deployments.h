// The cameras' places and times as Camtrap DP's table `deployments` has them.
#pragma once

#include <array>
#include <filesystem>
#include <string>
#include <vector>

struct Deployment {
    std::vector<std::string> fields = {};  // one per column of the standard, in its order
    std::string id = {}, zone = {};        // zone: of its start, as "Z" or "+02:00"
    double latitude = 0, longitude = 0;
    int64_t start = 0, end = 0;  // seconds since 1970 by a clock of that zone
};

const std::vector<const char*>& deployment_columns();

// A table with at least deploymentID, latitude, longitude, deploymentStart and deploymentEnd; other columns of the
// standard may be there, in any order. Dates are made whole (with seconds and a zone). Fault::usage, with the line, for
// a value that the standard refuses; columns that it does not know are named in `notes`.
std::vector<Deployment> read_deployments(const std::filesystem::path& path, std::vector<std::string>& notes);

// Rounds coordinates to that many decimals and adds what they lose to coordinateUncertainty.
void round_coordinates(Deployment& deployment, int decimals);

// The deployment of an image, null if there is none: the one whose deploymentID is the site and camera ("site/camera"),
// the camera, the site or the folder of the file, or whose cameraID is the camera (and locationID the site, where it
// has one). Of several, the one whose time the image has.
const Deployment* find_deployment(const std::vector<Deployment>& all, const std::string& site,
                                  const std::string& camera, const std::string& file, int64_t time);

size_t deployment_column(const char* name);
std::string camtrap_time(int64_t seconds, const std::string& zone);  // "2025-08-21T00:00:00Z"
