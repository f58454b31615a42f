#!/usr/bin/env python3
"""A simulated reviewer, who knows the truth, goes through a drawn survey in the order of `tundra review`: how many final
classes are still wrong after each look, against looking at the images in a random order. Any Python 3 will do.

    python3 bench/review_order.py SEASON SURVEY build/tundra docs/review-order.svg

SEASON: of `tundra synth --task survey`; SURVEY: of `tundra survey SEASON/images`, without corrections yet. The answers go
through the page's own interface, and at the end images.csv has to hold them.
"""
import array, csv, json, pathlib, random, signal, subprocess, sys, urllib.request

season, survey, tundra, target = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3], sys.argv[4]


def table():
    with open(survey / "images.csv", newline="") as file:
        return list(csv.DictReader(file))


seen = {}
with open(season / "truth.csv", newline="") as file:
    for row in csv.DictReader(file):
        seen.setdefault(row["image"], []).append(row)


def true_class(name):  # by the paper's order: animal or empty, then bad, then human; a rock is nothing
    things = {row["category"] for row in seen[name]}
    return ("human" if things & {"person", "vehicle"} else "bad" if seen[name][0]["quality"] == "bad"
            else "animal" if "animal" in things else "empty")


def wrong_images(rows):
    given = lambda row: "empty" if row["final"] == "repeated" else row["final"]
    return {row["file"] for row in rows if given(row) != true_class(row["file"])}


rows = table()
assert not any(row["reviewed"] for row in rows), "the survey was reviewed already"
wrong = wrong_images(rows)
server = subprocess.Popen([tundra, "review", str(survey), "-q"], stdout=subprocess.PIPE, text=True)
address = server.stdout.readline().strip()


def ask(path, body=None):
    request = urllib.request.Request(address + path, None if body is None else json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    return urllib.request.urlopen(request).read()


ours = [rows[i]["file"] for i in array.array("I", ask("list?state=todo&order=doubt"))]
number = {row["file"]: i for i, row in enumerate(rows)}
for at in range(0, len(ours), 500):
    ask("save", {"images": [{"id": number[name], "set": [{"box": "", "field": "final", "value": true_class(name)}]
                             if name in wrong else []} for name in ours[at:at + 500]]})
server.send_signal(signal.SIGINT)
assert server.wait() == 0


def curve(order):
    left = [len(wrong)]
    for name in order:
        left.append(left[-1] - (name in wrong))
    return left


def mean_curve(population, looks, shuffles=200):
    draw, total = random.Random(1), [0] * (looks + 1)
    for _ in range(shuffles):
        for i, left in enumerate(curve(draw.sample(population, looks))):
            total[i] += left
    return [value / shuffles for value in total]


curves = {"the order of tundra review": curve(ours), "the same images in random order": mean_curve(ours, len(ours)),
          "all images in random order": mean_curve(list(number), len(ours))}
assert len(wrong_images(table())) == curves["the order of tundra review"][-1], "images.csv does not hold the answers"
print(f"{len(rows)} images, {len(wrong)} wrong final classes; {len(ours)} images to look at, {len(wrong & set(ours))} of the wrong ones "
      "among them")
for name, values in curves.items():
    marks = [len(ours) * share // 100 for share in (10, 25, 50, 100)]
    print(f"{name}: wrong after " + ", ".join(f"{m} looks {values[m]:.0f}" for m in marks)
          + f"; mean over all looks {sum(values) / len(values):.1f}")

left, top, width, height = 70, 50, 640, 300
x = lambda i: left + width * i / len(ours)
y = lambda value: top + height * (1 - value / max(1, len(wrong)))
parts = []
for k, ((name, values), colour) in enumerate(zip(curves.items(), ("#1b6e53", "#c9a227", "#9aa5b1"))):
    step = max(1, len(ours) // 300)
    points = " ".join(f"{x(i):.1f},{y(values[i]):.1f}" for i in [*range(0, len(ours), step), len(ours)])
    parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>'
                 f'<rect x="{left + 300}" y="{top + 8 + 20 * k}" width="12" height="12" fill="{colour}"/>'
                 f'<text x="{left + 318}" y="{top + 18 + 20 * k}">{name}</text>')
for i in range(5):
    value, looks = len(wrong) * i / 4, len(ours) * i // 4
    parts.append(f'<path d="M{left - 5} {y(value):.1f}H{left}" stroke="#222"/><text x="{left - 9}" y="{y(value) + 4:.1f}" '
                 f'text-anchor="end">{value:.0f}</text><path d="M{x(looks):.1f} {top + height}v5" stroke="#222"/>'
                 f'<text x="{x(looks):.1f}" y="{top + height + 19}" text-anchor="middle">{looks}</text>')
with open(target, "w") as file:
    file.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 40} {top + height + 55}" font-family="sans-serif" '
               'font-size="12">\n<rect width="100%" height="100%" fill="#fff"/>\n'
               f'<text x="20" y="26">Images with a wrong final class, of {len(rows)}, against the images that the reviewer has looked at</text>\n'
               f'<path d="M{left} {top}V{top + height}H{left + width}" fill="none" stroke="#222"/>\n' + "\n".join(parts)
               + f'\n<text x="{left + width / 2}" y="{top + height + 42}" text-anchor="middle">images looked at</text>\n</svg>\n')
