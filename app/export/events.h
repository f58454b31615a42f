// Visits of one species, of people or of vehicles to one camera: Camtrap DP's observations of level "event".
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "app/export/observations.h"

class Events {
public:
    // Images at most `gap` seconds apart, and those of one burst, show the same visit.
    explicit Events(int64_t gap) : gap_(gap) {}

    // `rows`: what Observations::rows() has for this image; `zone`: of its deployment.
    void add(const AnsweredImage& image, const std::string& zone, const std::vector<Row>& rows);

    // One row per event, after all images were added. Its count is the largest of one image, because the images of a
    // visit show the same animals; it is a person's where people looked at all of its images.
    std::vector<Row> rows();

    // The event of a row of level "media", after rows(); "" for a row that is none, such as blank.
    std::string of(const Row& row) const;

private:
    struct Sighting {
        int64_t time;
        std::string zone, media, burst, method, by, at;
        size_t count;
        double probability;
    };

    int64_t gap_;
    std::map<std::string, std::vector<Sighting>> sightings_;  // by deployment, type and scientific name
    std::unordered_map<std::string, std::string> events_;     // by medium, type and scientific name
};
