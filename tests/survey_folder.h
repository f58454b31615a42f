// A small survey folder as `tundra survey` writes it, by hand: two sites, a burst of three, a repeat, a bad image.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "data/jpeg_writer.h"
#include "tests/images.h"

struct TrialSurvey {
    std::filesystem::path folder;

    explicit TrialSurvey(const std::string& name)
        : folder(std::filesystem::path(::testing::TempDir()) / (name + std::to_string(::getpid()))) {
        std::filesystem::remove_all(folder);
        std::filesystem::create_directories(folder / "images" / "A");
        std::filesystem::create_directories(folder / "images" / "B");
        write("survey.json", R"({"base": ")" + (folder / "images").string() +
                                 R"(", "table": {"box_threshold": 0.2, "not_animals": ["rock"]},
 "species": ["fox", "hare"], "quality": ["bad", "good"]})");
        write(
            "images.csv",
            "file,site,camera,date,sequence,quality,quality_score,animal,person,vehicle,repeated,species,counts,scores,"
            "before_vote,final,reviewed,review,problem\n"
            "A/1.jpg,A,c1,2026-07-01 08:00:00,A/1.jpg,good,0.01,1,0,0,0,fox,1,0.9,,animal,,animal,\n"
            "A/2.jpg,A,c1,2026-07-01 08:00:01,A/1.jpg,good,0.02,2,0,0,0,fox|hare,1|1,0.8|0.6,,animal,,animal,\n"
            "A/3.jpg,A,c1,2026-07-01 08:00:02,A/1.jpg,good,0.4,0,0,0,0,,,,,empty,,sample,\n"
            "\"A/4, \"\"x\"\".jpg\",A,c1,2026-07-02 08:00:00,,bad,0.97,0,0,0,0,,,,,bad,,,\n"
            "B/1.jpg,B,c2,2026-07-01 09:00:00,,good,0.1,0,1,0,0,,,,,human,,,\n"
            "B/2.jpg,B,c2,2026-07-01 10:00:00,,good,0.1,0,0,0,1,,,,,repeated,,repeat,\n");
        write("results.json", R"({"info": {"format_version": "1.6", "x": {"images": [{"file": "no"}]}}, "images": [
{"file": "A/1.jpg", "detections": [
  {"category": "1", "conf": 0.9, "bbox": [0.1, 0.2, 0.3, 0.4],
   "classifications": [["0", 0.9], ["1", 0.05]]}]},
{"file": "A/2.jpg", "detections": [
  {"category": "1", "conf": 0.8, "bbox": [0, 0, 0.5, 0.5],
   "classifications": [["0", 0.8]]},
  {"category": "1", "conf": 0.7, "bbox": [0.5, 0.5, 0.5, 0.5],
   "classifications": [["1", 0.6]]},
  {"category": "1", "conf": 0.05, "bbox": [0, 0, 0.1, 0.1]}]},
{"file": "A/3.jpg", "detections": []},
{"file": "A/4, \"x\".jpg", "failure": "image access failure", "detections": null},
{"file": "B/1.jpg", "detections": [{"category": "2", "conf": 0.9, "bbox": [0.1, 0.1, 0.2, 0.6]}]},
{"file": "B/2.jpg", "detections": [{"category": "1", "conf": 0.3, "bbox": [0.7, 0.7, 0.1, 0.1]}]}],
"detection_categories": {"1": "animal", "2": "person", "3": "vehicle"},
"classification_categories": {"0": "fox", "1": "hare"}})");
        write("repeats.csv", "group,file,box\n1,B/2.jpg,1\n");
        for (const char* name : {"A/1.jpg", "A/2.jpg", "A/3.jpg", "B/1.jpg"}) {
            const Image image = sample_image(96, 128, unsigned(name[2]));
            write_jpeg((folder / "images" / name).string(), image.rgb.data(), image.h, image.w);
        }
    }
    ~TrialSurvey() { std::filesystem::remove_all(folder); }
    TrialSurvey(const TrialSurvey&) = delete;

    void write(const std::string& name, const std::string& text) const {
        std::ofstream(folder / name, std::ios::binary) << text;
    }
};
