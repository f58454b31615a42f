"""Run by check_formats.sh in a throw-away environment: TUNDRA SEASON SCHEMAS, the second made by `tundra synth --task survey`."""
import csv
import json
import pathlib
import subprocess
import sys
from types import SimpleNamespace

tundra, season, schemas = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])


def run(*arguments):
    subprocess.run([tundra, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def check_tidy(settings):
    """The same boxes in the same groups as megadetector's repeat detection elimination."""
    from megadetector.postprocessing.repeat_detection_elimination import repeat_detections_core as core

    options = core.RepeatDetectionOptions()
    options.bWriteFilteringFolder = False
    options.smartSort = None
    options.iouThreshold = settings.iou
    options.occurrenceThreshold = settings.occurrences
    options.confidenceMin = settings.confidence
    found = core.find_repeat_detections(str(season / "detector.json"), None, options)
    theirs = {tuple(sorted((i.filename, i.i_detection + 1) for i in group.instances))
              for folder in found.suspicious_detections for group in folder}
    run("tidy", season / "detector.json", "--days", 0, "--hours", 0, "--iou", settings.iou, "--occurrences", settings.occurrences,
        "--confidence", settings.confidence, "-q")
    groups = {}
    for row in csv.DictReader(open(season / "repeats.csv")):
        groups.setdefault(row["group"], []).append((row["file"], int(row["box"])))
    ours = {tuple(sorted(group)) for group in groups.values()}
    assert ours == theirs, (len(ours), len(theirs), ours ^ theirs)
    print(f"megadetector: the same {len(ours)} groups at {settings}")


def check_results():
    from megadetector.postprocessing.validate_batch_results import ValidateBatchResultsOptions, validate_batch_results

    run("tidy", season / "detector.json", "--images", season / "images", "-o", season / "tidy.json", "-q")
    options = ValidateBatchResultsOptions()
    options.raise_errors = True
    checked = validate_batch_results(str(season / "tidy.json"), options)
    assert not checked["validation_results"]["errors"] and not checked["validation_results"]["warnings"]
    print("megadetector: tidy.json is valid, without a warning")


def make_survey(folder):
    """A survey folder as `tundra survey` leaves it, from the season's truth."""
    folder.mkdir()
    results = json.load(open(season / "detector.json"))
    results["classification_categories"] = {"0": "reindeer", "1": "fox", "2": "hare", "3": "ptarmigan", "4": "raven"}
    truth = {}
    for row in csv.DictReader(open(season / "truth.csv")):
        truth.setdefault(row["image"], []).append(row)
    head = ["file", "site", "camera", "date", "sequence", "quality", "quality_score", "animal", "person", "vehicle", "repeated",
            "species", "counts", "scores", "before_vote", "final", "reviewed", "review", "problem"]
    with open(folder / "images.csv", "w") as out:
        table = csv.DictWriter(out, head)
        table.writeheader()
        for image in results["images"]:
            rows = truth[image["file"]]
            boxes = [sum(d["category"] == c for d in image["detections"]) for c in "123"]
            species = sorted({r["label"] for r in rows if r["category"] == "animal"})
            final = ("bad" if rows[0]["quality"] == "bad" else "human" if boxes[1] + boxes[2] else
                     "animal" if boxes[0] else "empty")
            table.writerow(dict(file=image["file"], site=rows[0]["site"], camera=rows[0]["camera"], date=rows[0]["clock"],
                                sequence=rows[0]["sequence"], quality=rows[0]["quality"], quality_score=0.1, animal=boxes[0],
                                person=boxes[1], vehicle=boxes[2], repeated=0, species="|".join(species),
                                counts="|".join("1" for _ in species), scores="|".join("0.9" for _ in species), final=final))
    json.dump(results, open(folder / "results.json", "w"))


def check_camtrap(package):
    """Tables and foreign keys by frictionless, with local copies of the official schemas; then the profile."""
    import frictionless
    import jsonschema

    about = json.load(open(package / "datapackage.json"))
    profile = json.load(open(schemas / "camtrap-dp-profile.json"))
    own = profile["allOf"][1]
    for value in [about["profile"]] + [r["schema"] for r in about["resources"]]:
        assert "1.0.2" in value, value
    version = {"$defs": profile["$defs"], **own}
    version["properties"]["spatial"].pop("$ref")  # the schema of GeoJSON is on the network
    for error in jsonschema.Draft4Validator(version).iter_errors(about):
        raise AssertionError(error.message)
    local = json.loads(json.dumps(about))
    del local["profile"]
    for resource in local["resources"]:
        resource["schema"] = json.load(open(schemas / resource["schema"].rsplit("/", 1)[1]))
    report = frictionless.Package.from_descriptor(local, basepath=str(package)).validate()
    errors = report.flatten(["type", "rowNumber", "fieldName", "message"])
    assert report.valid, errors[:5]
    print(f"frictionless: {package.name} is valid,", ", ".join(f"{t.name} {t.stats['rows']}" for t in report.tasks))


check_results()
for iou, occurrences, confidence in [(0.9, 20, 0.1), (0.95, 5, 0.1), (0.6, 3, 0.3), (0.85, 10, 0.5)]:
    check_tidy(SimpleNamespace(iou=iou, occurrences=occurrences, confidence=confidence))
make_survey(season / "survey")
about = {"title": "A drawn season", "contributors": [{"title": "tundra"}],
         "licenses": [{"name": "CC0-1.0", "scope": "data"}, {"name": "CC0-1.0", "scope": "media"}]}
json.dump(about, open(season / "about.json", "w"))
run("export", season / "survey", "--camtrap-dp", season / "package", "--deployments", season / "deployments.csv")
check_camtrap(season / "package")
run("export", season / "survey", "--camtrap-dp", season / "private", "--deployments", season / "deployments.csv", "--package",
    season / "about.json", "--without-people", "--round-coordinates", 1, "--media-path", "https://example.org/", "--public")
check_camtrap(season / "private")
