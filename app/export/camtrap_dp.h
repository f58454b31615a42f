// A survey as a Camera Trap Data Package, Camtrap DP 1.0.2 (https://camtrap-dp.tdwg.org): datapackage.json,
// deployments.csv, media.csv, observations.csv.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

struct CamtrapOptions {
    std::filesystem::path survey = {}, out = {}, deployments = {};
    std::filesystem::path package = {};  // JSON with title, contributors, licenses, project, ...; may be empty
    std::filesystem::path taxa = {};     // CSV of class,scientificName; may be empty
    std::string media_path = {};         // before the name of each file: a folder inside the package, or a URL
    bool public_media = false, without_people = false;
    int decimals = -1;  // of coordinates; -1: as they are
};

struct CamtrapSummary {
    size_t deployments = 0, media = 0, observations = 0;
    std::vector<std::string> notes = {};  // what was left out and why
};

// Fault::usage if the survey, the deployments or the package's JSON cannot be used, or if `out` is not empty.
CamtrapSummary write_camtrap_dp(const CamtrapOptions& options);
