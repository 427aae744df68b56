"""Small scenes and captions that fit them: the pictures of the sample shards.

A scene is a few words, and both its caption and its drawing follow from these alone. The world is
small: some things of some colours, in some places, at some times.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter, ImageOps

from laion_assets.demo.draws import derive_number

Colour = tuple[int, int, int]
Point = tuple[float, float]

COLOURS: dict[str, Colour] = {
    "red": (205, 38, 38),
    "orange": (240, 140, 30),
    "yellow": (245, 215, 60),
    "green": (50, 150, 60),
    "blue": (45, 95, 200),
    "purple": (130, 60, 160),
    "pink": (240, 140, 175),
    "white": (245, 245, 245),
    "black": (25, 25, 30),
    "brown": (120, 75, 45),
}
# The sky's colours above and at the horizon, the disc's, and how much light falls on the rest.
TIMES: dict[str, tuple[Colour, Colour, Colour | None, float]] = {
    "at sunset": ((90, 60, 130), (250, 150, 80), (255, 210, 120), 0.8),
    "at dawn": ((130, 160, 210), (250, 205, 190), (255, 235, 200), 0.9),
    "at noon": ((70, 150, 230), (190, 225, 250), (255, 250, 200), 1.0),
    "at night": ((8, 12, 40), (30, 40, 80), (235, 235, 215), 0.5),
    "on a grey day": ((140, 145, 150), (190, 192, 195), None, 0.85),
}
PLACES: dict[str, Colour] = {
    "on the sea": (30, 100, 150),
    "on a lake": (60, 130, 150),
    "in a meadow": (95, 165, 70),
    "in the snow": (235, 240, 245),
    "in the desert": (222, 184, 120),
    "in the mountains": (110, 120, 105),
    "in the city": (105, 105, 110),
}
ON_WATER = ("on the sea", "on a lake")
ON_LAND = tuple(place for place in PLACES if place not in ON_WATER)
STYLES = ("photo", "painting", "watercolor", "pencil drawing", "illustration", "poster")
SIZES = ((384, 256), (256, 384), (320, 320), (384, 288), (288, 384))
_QUALITY = 85
_STARS = 60


@dataclass(frozen=True)
class Scene:
    """What is to be seen.

    Attributes:
        thing: a key of `THINGS`.
        colour: a key of `COLOURS`.
        count: how many of it, 1 to 3.
        place: a key of `PLACES`.
        time: a key of `TIMES`.
        style: one of `STYLES`.
        size: width and height in pixels.
        number: tells scenes of the same words apart.
    """

    thing: str
    colour: str
    count: int
    place: str
    time: str
    style: str
    size: tuple[int, int]
    number: int


def invent_scene(number: int) -> Scene:
    """Returns the scene of a number; the same everywhere."""

    def pick(word: str, length: int) -> int:
        return derive_number(number, word) % length

    thing = list(THINGS)[pick("thing", len(THINGS))]
    places = THINGS[thing].places
    return Scene(
        thing=thing,
        colour=list(COLOURS)[pick("colour", len(COLOURS))],
        count=(1, 1, 1, 2, 3)[pick("count", 5)],
        place=places[pick("place", len(places))],
        time=list(TIMES)[pick("time", len(TIMES))],
        style=STYLES[pick("style", len(STYLES))],
        size=SIZES[pick("size", len(SIZES))],
        number=number,
    )


def caption_scene(scene: Scene) -> str:
    """Returns what somebody would write below the picture."""
    thing = scene.thing if scene.count == 1 else THINGS[scene.thing].plural
    count = {1: "a", 2: "two", 3: "three"}[scene.count]
    if scene.count == 1 and scene.colour[0] in "aeiou":
        count = "an"
    what, where, when = f"{scene.colour} {thing}", scene.place, scene.time
    forms = (
        f"{what.capitalize()} {when}",
        f"{count.capitalize()} {what} {where} {when}",
        f"{scene.style.capitalize()} of {count} {what} {where}",
        f"{what.title()} {where.title()} {when.title()} | {scene.style}",
        f"{what} {where} {when}, {scene.style}",
    )
    return forms[derive_number(scene.number, "form") % len(forms)]


def draw_scene(scene: Scene) -> bytes:
    """Returns the picture as JPEG."""
    width, height = scene.size
    top, bottom, disc, light = TIMES[scene.time]
    horizon = round(height * (0.5 + derive_number(scene.number, "horizon") % 20 / 100))
    image = _draw_sky(width, height, horizon, top, bottom)
    draw = ImageDraw.Draw(image)
    if disc:
        _draw_disc(draw, scene, horizon, disc)
    if scene.time == "at night":
        for star in range(_STARS):
            x = derive_number(scene.number, "star x", star) % width
            y = derive_number(scene.number, "star y", star) % max(horizon, 1)
            draw.point((x, y), (230, 230, 230))
    _draw_place(draw, scene, horizon, light)
    thing = THINGS[scene.thing]
    colour = _shade(COLOURS[scene.colour], light)
    for index in range(scene.count):
        extent = min(width, height) * (0.62, 0.42, 0.34)[scene.count - 1]
        middle = width * (index + 1) / (scene.count + 1)
        foot = height * (0.92 - 0.05 * (index % 2)) if not thing.is_flying else horizon * 0.85
        pen = _Pen(draw, middle - extent / 2, foot - extent, extent)
        thing.draw(pen, colour, _shade((40, 35, 35), light))
    return _finish(image, scene)


@dataclass(frozen=True)
class _Pen:
    """Draws in a square whose corners are (0, 0) and (1, 1)."""

    draw: ImageDraw.ImageDraw
    left: float
    top: float
    extent: float

    def polygon(self, colour: Colour, *points: Point) -> None:
        self.draw.polygon([self._place(point) for point in points], colour)

    def ellipse(self, colour: Colour, x0: float, y0: float, x1: float, y1: float) -> None:
        self.draw.ellipse([self._place((x0, y0)), self._place((x1, y1))], colour)

    def line(self, colour: Colour, thickness: float, *points: Point) -> None:
        pixels = max(round(thickness * self.extent), 1)
        self.draw.line([self._place(point) for point in points], colour, pixels, joint="curve")

    def _place(self, point: Point) -> Point:
        return self.left + point[0] * self.extent, self.top + point[1] * self.extent


def _draw_boat(pen: _Pen, colour: Colour, dark: Colour) -> None:
    pen.line(dark, 0.03, (0.5, 0.1), (0.5, 0.75))
    pen.polygon((240, 240, 235), (0.53, 0.12), (0.53, 0.66), (0.88, 0.66))
    pen.polygon((225, 225, 220), (0.47, 0.2), (0.47, 0.66), (0.2, 0.66))
    pen.polygon(colour, (0.05, 0.72), (0.95, 0.72), (0.8, 0.95), (0.2, 0.95))


def _draw_house(pen: _Pen, colour: Colour, dark: Colour) -> None:
    pen.polygon(colour, (0.15, 0.45), (0.85, 0.45), (0.85, 1), (0.15, 1))
    pen.polygon(dark, (0.05, 0.47), (0.5, 0.1), (0.95, 0.47))
    pen.polygon(dark, (0.42, 0.68), (0.58, 0.68), (0.58, 1), (0.42, 1))
    for x in (0.22, 0.66):
        pen.polygon((250, 235, 160), (x, 0.58), (x + 0.12, 0.58), (x + 0.12, 0.72), (x, 0.72))


def _draw_tree(pen: _Pen, colour: Colour, dark: Colour) -> None:
    pen.polygon(dark, (0.45, 0.55), (0.55, 0.55), (0.58, 1), (0.42, 1))
    for x, y, r in ((0.5, 0.25, 0.23), (0.3, 0.42, 0.2), (0.7, 0.42, 0.2), (0.5, 0.48, 0.22)):
        pen.ellipse(colour, x - r, y - r, x + r, y + r)


def _draw_cat(pen: _Pen, colour: Colour, dark: Colour) -> None:
    pen.line(colour, 0.06, (0.75, 0.9), (0.95, 0.75), (0.9, 0.5))
    pen.ellipse(colour, 0.25, 0.45, 0.8, 1)
    pen.ellipse(colour, 0.15, 0.2, 0.55, 0.58)
    pen.polygon(colour, (0.17, 0.35), (0.17, 0.08), (0.33, 0.24))
    pen.polygon(colour, (0.53, 0.35), (0.53, 0.08), (0.37, 0.24))
    for x in (0.25, 0.4):
        pen.ellipse(_contrast(colour, dark), x, 0.34, x + 0.05, 0.4)


def _draw_dog(pen: _Pen, colour: Colour, dark: Colour) -> None:
    pen.line(colour, 0.06, (0.88, 0.55), (0.98, 0.35))
    pen.ellipse(colour, 0.25, 0.45, 0.92, 0.8)
    for x in (0.32, 0.45, 0.72, 0.84):
        pen.line(colour, 0.08, (x, 0.7), (x, 0.99))
    pen.ellipse(colour, 0.05, 0.22, 0.42, 0.56)
    pen.ellipse(_contrast(colour, dark), 0.3, 0.22, 0.42, 0.52)
    pen.ellipse(_contrast(colour, dark), 0.04, 0.38, 0.1, 0.44)


def _draw_horse(pen: _Pen, colour: Colour, dark: Colour) -> None:
    pen.line(dark, 0.05, (0.9, 0.45), (0.98, 0.75))
    pen.ellipse(colour, 0.28, 0.38, 0.92, 0.68)
    for x in (0.36, 0.44, 0.76, 0.86):
        pen.line(colour, 0.06, (x, 0.6), (x, 0.99))
    pen.polygon(colour, (0.28, 0.55), (0.46, 0.42), (0.3, 0.12), (0.18, 0.16))
    pen.polygon(colour, (0.3, 0.1), (0.3, 0.26), (0.06, 0.36), (0.04, 0.26))
    pen.line(dark, 0.05, (0.31, 0.1), (0.46, 0.42))


def _draw_bird(pen: _Pen, colour: Colour, dark: Colour) -> None:
    pen.polygon(colour, (0.05, 0.3), (0.3, 0.38), (0.5, 0.6), (0.35, 0.6))
    pen.polygon(colour, (0.95, 0.3), (0.7, 0.38), (0.5, 0.6), (0.65, 0.6))
    pen.ellipse(colour, 0.38, 0.48, 0.62, 0.76)
    pen.polygon((240, 170, 40), (0.46, 0.74), (0.54, 0.74), (0.5, 0.82))
    pen.ellipse(_contrast(colour, dark), 0.48, 0.62, 0.52, 0.66)


def _draw_balloon(pen: _Pen, colour: Colour, dark: Colour) -> None:
    pen.ellipse(colour, 0.15, 0, 0.85, 0.68)
    pen.polygon(colour, (0.2, 0.48), (0.8, 0.48), (0.58, 0.78), (0.42, 0.78))
    for x in (0.42, 0.58):
        pen.line(dark, 0.015, (x, 0.78), (x, 0.88))
    pen.polygon(dark, (0.4, 0.86), (0.6, 0.86), (0.57, 1), (0.43, 1))


def _draw_lighthouse(pen: _Pen, colour: Colour, dark: Colour) -> None:
    pen.polygon((240, 240, 240), (0.4, 0.2), (0.6, 0.2), (0.68, 1), (0.32, 1))
    for y in (0.32, 0.6, 0.86):
        pen.polygon(colour, (0.38, y), (0.62, y), (0.64, y + 0.12), (0.36, y + 0.12))
    pen.polygon((255, 240, 150), (0.42, 0.1), (0.58, 0.1), (0.58, 0.2), (0.42, 0.2))
    pen.polygon(dark, (0.38, 0.1), (0.62, 0.1), (0.5, 0))


def _draw_flower(pen: _Pen, colour: Colour, dark: Colour) -> None:
    pen.line((50, 120, 50), 0.04, (0.5, 0.4), (0.5, 1))
    pen.ellipse((50, 120, 50), 0.5, 0.7, 0.75, 0.8)
    for turn in range(6):
        x = 0.5 + 0.18 * math.cos(turn * math.pi / 3)
        y = 0.3 + 0.18 * math.sin(turn * math.pi / 3)
        pen.ellipse(colour, x - 0.12, y - 0.12, x + 0.12, y + 0.12)
    pen.ellipse(_contrast(colour, dark, (250, 205, 60)), 0.4, 0.2, 0.6, 0.4)


def _draw_car(pen: _Pen, colour: Colour, dark: Colour) -> None:
    pen.polygon(colour, (0.25, 0.65), (0.35, 0.45), (0.68, 0.45), (0.8, 0.65))
    pen.polygon((190, 215, 230), (0.32, 0.63), (0.39, 0.5), (0.5, 0.5), (0.5, 0.63))
    pen.polygon((190, 215, 230), (0.54, 0.63), (0.54, 0.5), (0.65, 0.5), (0.73, 0.63))
    pen.polygon(colour, (0.02, 0.64), (0.98, 0.64), (0.98, 0.86), (0.02, 0.86))
    for x in (0.14, 0.66):
        pen.ellipse(dark, x, 0.76, x + 0.22, 0.98)


def _draw_mushroom(pen: _Pen, colour: Colour, _dark: Colour) -> None:
    pen.polygon((235, 225, 205), (0.4, 0.5), (0.6, 0.5), (0.66, 1), (0.34, 1))
    pen.ellipse(colour, 0.08, 0.12, 0.92, 0.78)
    pen.polygon((235, 225, 205), (0.1, 0.5), (0.9, 0.5), (0.62, 0.62), (0.38, 0.62))
    for x, y in ((0.3, 0.32), (0.52, 0.22), (0.7, 0.36)):
        pen.ellipse((245, 240, 230), x - 0.06, y - 0.05, x + 0.06, y + 0.05)


@dataclass(frozen=True)
class _Thing:
    draw: Callable[[_Pen, Colour, Colour], None]
    plural: str
    places: tuple[str, ...] = ON_LAND
    is_flying: bool = False


THINGS = {
    "boat": _Thing(_draw_boat, "boats", ON_WATER),
    "house": _Thing(_draw_house, "houses"),
    "tree": _Thing(_draw_tree, "trees"),
    "cat": _Thing(_draw_cat, "cats"),
    "dog": _Thing(_draw_dog, "dogs"),
    "horse": _Thing(_draw_horse, "horses"),
    "bird": _Thing(_draw_bird, "birds", tuple(PLACES), is_flying=True),
    "balloon": _Thing(_draw_balloon, "balloons", tuple(PLACES), is_flying=True),
    "lighthouse": _Thing(_draw_lighthouse, "lighthouses", ("on the sea", "in the snow")),
    "flower": _Thing(_draw_flower, "flowers", ("in a meadow", "in the snow", "in the mountains")),
    "car": _Thing(_draw_car, "cars"),
    "mushroom": _Thing(_draw_mushroom, "mushrooms", ("in a meadow", "in the mountains")),
}


def _contrast(colour: Colour, dark: Colour, bright: Colour = (240, 240, 230)) -> Colour:
    """Returns what is to be seen on a colour."""
    return bright if sum(colour) < 3 * 128 else dark


def _shade(colour: Colour, light: float) -> Colour:
    red, green, blue = (round(channel * light) for channel in colour)
    return red, green, blue


def _draw_sky(width: int, height: int, horizon: int, top: Colour, bottom: Colour) -> Image.Image:
    ramp = Image.linear_gradient("L").resize((width, max(horizon, 1)))
    image = Image.new("RGB", (width, height), bottom)
    image.paste(ImageOps.colorize(ramp, top, bottom), (0, 0))
    return image


def _draw_disc(draw: ImageDraw.ImageDraw, scene: Scene, horizon: int, colour: Colour) -> None:
    width, height = scene.size
    radius = min(width, height) * 0.09
    x = width * (0.15 + derive_number(scene.number, "disc") % 70 / 100)
    y = horizon - radius * 0.4 if scene.time in {"at sunset", "at dawn"} else horizon * 0.25
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour)


def _draw_place(draw: ImageDraw.ImageDraw, scene: Scene, horizon: int, light: float) -> None:
    width, height = scene.size
    colour = _shade(PLACES[scene.place], light)
    if scene.place == "in the mountains":
        _draw_mountains(draw, scene, horizon, colour)
    elif scene.place == "in the city":
        _draw_city(draw, scene, horizon, colour)
    draw.rectangle((0, horizon, width, height), colour)
    if scene.place == "in the desert":
        draw.ellipse((-width * 0.4, horizon - 12, width * 0.8, horizon + height * 0.5), colour)
    elif scene.place == "in a meadow":
        for x, y in _scatter(scene, horizon, 40):
            draw.line((x, y, x + 2, y - 6), _shade(colour, 0.75), 1)
    elif scene.place in ON_WATER:
        for x, y in _scatter(scene, horizon, 14):
            draw.line((x, y, x + width * 0.12, y), _shade(colour, 1.25), 2)


def _draw_mountains(draw: ImageDraw.ImageDraw, scene: Scene, horizon: int, colour: Colour) -> None:
    width = scene.size[0]
    for index in range(4):
        middle = width * index / 3
        peak = horizon * (0.25 + derive_number(scene.number, "peak", index) % 30 / 100)
        left, right = middle - width * 0.3, middle + width * 0.3
        corners = [(left, horizon), (middle, peak), (right, horizon)]
        draw.polygon(corners, _shade(colour, 0.7 + 0.06 * index))


def _draw_city(draw: ImageDraw.ImageDraw, scene: Scene, horizon: int, colour: Colour) -> None:
    step = scene.size[0] / 8
    for index in range(8):
        roof = horizon * (0.35 + derive_number(scene.number, "roof", index) % 50 / 100)
        wall = 0.6 + 0.05 * (derive_number(scene.number, "wall", index) % 5)
        box = (index * step, roof, (index + 1) * step - 2, horizon)
        draw.rectangle(box, _shade(colour, wall))


def _scatter(scene: Scene, horizon: int, count: int) -> list[tuple[int, int]]:
    """Returns places on the ground."""
    width, height = scene.size
    return [
        (
            derive_number(scene.number, "x", index) % width,
            horizon + derive_number(scene.number, "y", index) % (height - horizon),
        )
        for index in range(count)
    ]


def _finish(image: Image.Image, scene: Scene) -> bytes:
    match scene.style:
        case "watercolor":
            paper = Image.new("RGB", image.size, (250, 248, 240))
            image = Image.blend(image.filter(ImageFilter.BoxBlur(2)), paper, 0.25)
        case "pencil drawing":
            image = Image.blend(image, image.filter(ImageFilter.CONTOUR), 0.7)
        case "painting":
            image = image.filter(ImageFilter.MedianFilter(3))
        case "poster":
            framed = ImageOps.expand(ImageOps.posterize(image, 3), 8, (250, 245, 230))
            image = framed.resize(image.size)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
