"""English and Spanish words with their forms: the lexicon of the task "spanish"."""

from typing import NamedTuple


class Noun(NamedTuple):
    """Words indexed by number: singular, plural."""

    english: tuple[str, str]
    spanish: tuple[str, str]
    feminine: bool


class Adjective(NamedTuple):
    """One English word; Spanish masculine, feminine, both again in plural; its copula."""

    english: str
    spanish: tuple[str, ...]
    copula: str


class Determiner(NamedTuple):
    """One English word; its Spanish masculine and feminine."""

    english: str
    spanish: tuple[str, str]


class Verb(NamedTuple):
    """English plain and third person; Spanish forms indexed by person; the objects it takes."""

    base: str
    third: str
    spanish: tuple[str, ...]
    objects: str


FIRST, SECOND, THIRD, WE, THEY = range(5)  # persons of a verb: como comes come comemos comen


def _nouns(table: str) -> tuple[Noun, ...]:
    rows = [row.split() for row in table.strip().splitlines()]
    return tuple(Noun((a, b), (c, d), gender == "f") for a, b, c, d, gender in rows)


def _adjectives(table: str) -> tuple[Adjective, ...]:
    rows = [row.split() for row in table.strip().splitlines()]
    return tuple(Adjective(english, tuple(forms), copula) for english, *forms, copula in rows)


def _verbs(table: str) -> tuple[Verb, ...]:
    rows = [[cell.strip() for cell in row.split("|")] for row in table.strip().splitlines()]
    return tuple(Verb(base, third, tuple(forms.split()), o) for base, third, forms, o in rows)


PEOPLE = _nouns("""
    girl girls niña niñas f
    boy boys niño niños m
    woman women mujer mujeres f
    man men hombre hombres m
    sister sisters hermana hermanas f
    brother brothers hermano hermanos m
    aunt aunts tía tías f
    uncle uncles tío tíos m
    queen queens reina reinas f
    king kings rey reyes m
""")
FOOD = _nouns("""
    apple apples manzana manzanas f
    orange oranges naranja naranjas f
    egg eggs huevo huevos m
    cake cakes pastel pasteles m
""")
TEXTS = _nouns("""
    book books libro libros m
    letter letters carta cartas f
    newspaper newspapers periódico periódicos m
""")
GOODS = _nouns("""
    car cars coche coches m
    house houses casa casas f
    hat hats sombrero sombreros m
    shirt shirts camisa camisas f
    table tables mesa mesas f
""")
PLACES = _nouns("""
    park parks parque parques m
    garden gardens jardín jardines m
    market markets mercado mercados m
    school schools escuela escuelas f
    kitchen kitchens cocina cocinas f
    street streets calle calles f
""")
THINGS = FOOD + TEXTS + GOODS
OBJECTS = {
    "food": FOOD,
    "texts": TEXTS,
    "things": THINGS,
    "people": PEOPLE,
    "anything": THINGS + PEOPLE,
}

# Forms: masculine, feminine, masculine plural, feminine plural. All stand behind the noun.
OF_PEOPLE = _adjectives("""
    tall alto alta altos altas ser
    young joven joven jóvenes jóvenes ser
    strong fuerte fuerte fuertes fuertes ser
    tired cansado cansada cansados cansadas estar
    sick enfermo enferma enfermos enfermas estar
""")
OF_THINGS = _adjectives("""
    red rojo roja rojos rojas ser
    white blanco blanca blancos blancas ser
    blue azul azul azules azules ser
    big grande grande grandes grandes ser
    new nuevo nueva nuevos nuevas ser
    expensive caro cara caros caras ser
""")

# I, you, he or she, we, they; "you" is one person, spoken to as a friend.
COPULAS = {"ser": ("es", "son"), "estar": ("está", "están")}
VERBS = _verbs("""
    eat | eats | como comes come comemos comen | food
    buy | buys | compro compras compra compramos compran | things
    sell | sells | vendo vendes vende vendemos venden | things
    want | wants | quiero quieres quiere queremos quieren | things
    read | reads | leo lees lee leemos leen | texts
    write | writes | escribo escribes escribe escribimos escriben | texts
    see | sees | veo ves ve vemos ven | anything
    look for | looks for | busco buscas busca buscamos buscan | anything
    help | helps | ayudo ayudas ayuda ayudamos ayudan | people
    visit | visits | visito visitas visita visitamos visitan | people
    sing | sings | canto cantas canta cantamos cantan | nothing
    dance | dances | bailo bailas baila bailamos bailan | nothing
    sleep | sleeps | duermo duermes duerme dormimos duermen | nothing
    work | works | trabajo trabajas trabaja trabajamos trabajan | nothing
""")
THE = (Determiner("the", ("el", "la")), Determiner("the", ("los", "las")))
DETERMINERS = (  # of one and of many
    (
        THE[0],
        Determiner("a", ("un", "una")),
        Determiner("this", ("este", "esta")),
        Determiner("my", ("mi", "mi")),
    ),
    (
        THE[1],
        Determiner("these", ("estos", "estas")),
        Determiner("my", ("mis", "mis")),
        Determiner("two", ("dos", "dos")),
        Determiner("many", ("muchos", "muchas")),
    ),
)
PREPOSITIONS = (("in", "en"), ("near", "cerca de"))  # before places, which stand in the singular
TIMES = (("today", "hoy"), ("now", "ahora"), ("every day", "todos los días"))
