"""The vocabulary of generated documents: words, and values that nobody can guess."""

from collections.abc import Callable
from random import Random
from typing import TypeAlias

Draw: TypeAlias = Callable[[Random], str]


def _list(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST_NAMES = _list(
    "Ada Alan Amir Anna Aisha Boris Bruno Carla Chen Clara Dana David Dmitri Elena Emil Erik "
    "Esther Farah Felix Fiona Grace Hanna Hugo Ines Ivan Jamal Jana Jonas Julia Karim Karen "
    "Lars Leila Linda Lucas Luis Maria Mark Mei Mona Nadia Nina Noah Olga Omar Oscar Paula "
    "Peter Priya Rafael Rosa Ruth Samir Sara Sofia Stefan Tara Tom Vera Victor Wei Yara Yusuf "
    "Zoe"
)
LAST_NAMES = _list(
    "Abbott Adeyemi Ahmed Almeida Andersen Baker Banerjee Becker Bianchi Castillo Chang Cohen "
    "Costa Dahl Delgado Dubois Duarte Eriksen Evans Ferrari Fischer Garcia Grant Gupta Haddad "
    "Hansen Hayes Hoffman Ibrahim Ito Jensen Joshi Kang Kaplan Keller Khan Kim Kovacs Kumar "
    "Laurent Lee Lindgren Lopez Marino Martin Mbeki Mendes Meyer Moreau Murphy Nakamura Nguyen "
    "Novak Okafor Olsen Ortiz Park Patel Pereira Petrov Popescu Quinn Rahman Reyes Ricci Rossi "
    "Sato Schmidt Shah Silva Singh Sokolov Suzuki Tanaka Torres Vargas Vogel Walker Weber Wong "
    "Yamada Young Zhang Ziegler"
)
MAKERS = _list(
    "Acorn Alder Aster Beacon Birch Cedar Cobalt Comet Coral Delta Ember Falcon Fern Granite "
    "Harbor Heron Indigo Juniper Kestrel Lark Linden Lumen Maple Meridian Nimbus North Onyx "
    "Orchard Osprey Pioneer Quarry Raven Ridge River Sable Sequoia Slate Sparrow Summit "
    "Tamarack Tidal Vertex Willow"
)
SUFFIXES = _list("Inc Ltd GmbH Group Labs Works Systems Medical Brothers Co")
ADJECTIVES = _list(
    "compact classic cordless deluxe digital durable elegant foldable heavy lightweight modern "
    "portable premium quiet robust silent slim sturdy vintage waterproof wireless ergonomic"
)
GOODS = _list(
    "backpack blender bookcase camera chair clock drill fan grill headphones heater jacket "
    "kettle keyboard lamp lantern microscope mixer monitor mug printer radio razor router saw "
    "scale speaker stroller suitcase table tent thermostat toaster tripod umbrella vacuum watch"
)
DEVICES = _list(
    "catheter stent ventilator oximeter glucometer defibrillator stethoscope scalpel retractor "
    "cannula sphygmomanometer endoscope laryngoscope nebulizer implant suture syringe "
    "thermometer"
)
COLOURS = _list("amber black blue bronze brown cream crimson green grey gold ivory navy olive red")
MATERIALS = _list(
    "aluminium bamboo ceramic copper cotton leather nylon oak polyester steel titanium"
)
CITIES = _list(
    "Aarhus Accra Austin Bergen Bilbao Bogota Boston Bristol Cairo Cardiff Chicago Cork Dakar "
    "Delhi Denver Dublin Genoa Ghent Hanoi Helsinki Jakarta Kyoto Lagos Leeds Lima Lisbon Lyon "
    "Malmo Manila Milan Nairobi Osaka Oslo Porto Prague Quito Riga Seoul Tampa Tunis Turin "
    "Vienna Zurich"
)
MONTHS = _list(
    "January February March April May June July August September October November December"
)
DEPARTMENTS = _list(
    "Accounting Admissions Archives Biology Chemistry Design Engineering Facilities Finance "
    "History Housing Law Library Linguistics Logistics Marketing Mathematics Music Physics "
    "Purchasing Safety"
)
MENU = (
    "Home",
    "Search",
    "Sign in",
    "Your cart",
    "Help",
    "Contact us",
    "Store finder",
    "Gift cards",
    "New arrivals",
    "Clearance",
    "Track an order",
    "My account",
    "Newsletter",
    "About us",
    "Careers",
    "Press",
    "Shipping",
    "Returns",
    "Privacy policy",
    "Terms of use",
    "Site map",
    "Wish list",
    "Accessibility",
    "Affiliates",
)
PRAISE = (
    "Works exactly as described",
    "Arrived on time and well packed",
    "A little smaller than I expected",
    "My sister loves hers",
    "I would buy it again",
    "The instructions could be clearer",
    "Not bad for the price",
    "Stopped working after a month",
    "Better than the old one",
    "Looks nice on the shelf",
    "Customer service was friendly",
    "We use it every day",
)
BOILERPLATE = (
    "The information below is provided in accordance with the applicable regulations",
    "Bench tests were conducted under simulated conditions of use",
    "No new questions of safety or effectiveness were raised",
    "All acceptance criteria were met in every sample that was examined",
    "The labeling has been revised to reflect the changes described above",
    "Biocompatibility was evaluated for each component in contact with tissue",
    "Differences in dimensions do not affect the principle of operation",
    "The results support a determination of substantial equivalence",
    "Shelf life was established by accelerated and real-time ageing",
    "The device is supplied in a single unit carton with instructions for use",
)


def pick(*choices: str) -> Draw:
    """One of some choices."""
    return lambda draw: draw.choice(choices)


def person(draw: Random) -> str:
    return f"{draw.choice(FIRST_NAMES)} {draw.choice(LAST_NAMES)}"


def company(draw: Random) -> str:
    return f"{draw.choice(MAKERS)} {draw.choice(LAST_NAMES)} {draw.choice(SUFFIXES)}"


def code(pattern: str) -> Draw:
    """A code: # becomes a digit, @ a letter, other characters stay."""
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"

    def make(draw: Random) -> str:
        made = {"#": lambda: str(draw.randrange(10)), "@": lambda: draw.choice(letters)}
        return "".join(made[c]() if c in made else c for c in pattern)

    return make


def number(low: int, high: int, form: str) -> Draw:
    """A number in a form such as "{} g"."""
    return lambda draw: form.format(f"{draw.randint(low, high):,}")


def price(draw: Random) -> str:
    return f"${draw.randint(3, 899)}.{draw.choice(('00', '49', '50', '95', '99'))}"


def date(draw: Random) -> str:
    day, month, year = draw.randint(1, 28), draw.randrange(12), draw.randint(1994, 2024)
    name = MONTHS[month]
    forms = (f"{day} {name} {year}", f"{name} {day}, {year}", f"{year}-{month + 1:02}-{day:02}")
    return draw.choice(forms)


def size(draw: Random) -> str:
    return " x ".join(str(draw.randint(2, 99)) for _ in range(3)) + draw.choice((" cm", " in"))
