"""The words of sample captions: ordinary ones by what they name, and parts of made ones.

A pool is drawn from with a long tail: what stands first comes most often. Words are in lower case
unless they always have capitals; the ones of `PROPER` get one wherever not all is in lower case.
The order and length of every pool are part of the sample data: a change here changes all captions.
"""

from __future__ import annotations

from itertools import product

_VOWELS = "aeiou"
# Verbs of so many letters double their last one: run, running.
_SHORT = 4
_IRREGULAR = {
    "child": "children",
    "foot": "feet",
    "goose": "geese",
    "knife": "knives",
    "leaf": "leaves",
    "life": "lives",
    "mouse": "mice",
    "scarf": "scarves",
    "shelf": "shelves",
    "tooth": "teeth",
    "wolf": "wolves",
    **{noun: noun for noun in ("deer", "fish", "salmon", "sheep", "squid", "trout", "aircraft")},
}


def _split(words: str) -> tuple[str, ...]:
    return tuple(words.split())


def plural(noun: str) -> str:
    """Returns the plural of a noun, and the third person of a verb, which is spelled like it."""
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if noun.endswith("man"):
        return f"{noun[:-3]}men"
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2] not in _VOWELS:
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def _add_article(word: str) -> str:
    return f"an {word}" if word[0] in _VOWELS else f"a {word}"


def _bend(verb: str, ending: str) -> str:
    """Returns the verb with -ing or -ed."""
    if verb.endswith("e"):
        verb = verb[:-1]
    elif verb.endswith("y") and ending == "ed" and verb[-2] not in _VOWELS:
        verb = f"{verb[:-1]}i"
    elif (
        len(verb) <= _SHORT
        and verb[-1] in "bdgmnpt"
        and verb[-2] in _VOWELS
        and verb[-3] not in _VOWELS
    ):
        verb = f"{verb}{verb[-1]}"
    return f"{verb}{ending}"


_COLOURS = _split(
    """
    black white red blue green pink grey gold silver brown yellow purple orange navy beige
    turquoise ivory cream teal burgundy charcoal lavender coral mint khaki crimson copper
    emerald aqua mustard peach olive maroon indigo scarlet amber lilac sapphire ruby taupe
    bronze multicolor magenta tan rust sand plum walnut mahogany cobalt fuchsia
    """
)
_ADJECTIVES = _split(
    """
    new small vintage large modern classic beautiful little big best custom antique long simple
    personalized natural elegant original traditional mini luxury casual decorative double perfect
    heavy royal contemporary square round wide rare fancy dark bright soft light cute retro
    stylish minimalist abstract geometric striped colorful floral tropical nautical coastal rustic
    romantic bohemian victorian gothic baroque medieval oriental industrial lovely funny unique
    genuine deluxe exclusive essential affordable premium professional standard basic compact
    ultra super extra official limited assorted festive seasonal whimsical ornate dainty chunky
    sleek bold subtle timeless iconic charming delicate gorgeous stunning impressive adorable
    magnificent exquisite fabulous glamorous trendy chic quirky playful feminine masculine unisex
    narrow curved angled slim flat tall short deep thick thin petite miniature giant jumbo massive
    """
)
_CRAFTED = _split(
    """
    handmade waterproof adjustable portable outdoor electric foldable magnetic folding printable
    solid removable wireless digital smart hand-painted engraved embroidered framed printed
    carved hanging rechargeable automatic cordless retractable insulated padded quilted knitted
    woven reversible lined hooded pleated fitted stretchy braided cropped sleeveless oversized
    polished brushed frosted textured weathered distressed glossy matte painted upholstered tufted
    layered laminated beaded jeweled studded gilded hammered lacquered varnished glazed etched
    stackable extendable inflatable detachable programmable hydraulic pneumatic manual universal
    heavy-duty durable lightweight sturdy reinforced recycled reusable disposable washable
    breathable antislip shockproof dustproof fireproof windproof scratch-resistant unframed
    two-tone multi-purpose freestanding wall-mounted built-in battery-powered solar-powered
    """
)
_SCENIC = _split(
    """
    beautiful old foggy misty sunny snowy green quiet empty busy crowded narrow historic ancient
    abandoned rocky sandy cloudy stormy rainy frosty dusty muddy shady leafy grassy hilly icy calm
    rough distant wild peaceful serene tranquil lonely picturesque scenic lush barren frozen
    golden moonlit sunlit deserted ruined restored renovated hidden secluded remote famous
    industrial urban rural medieval colonial royal small little tiny vast steep deep shallow
    winding cobbled wooden stone flooded burning spooky haunted enchanted floating
    """
)
_MOODS = _split(
    """
    young happy old little cute beautiful smiling tired angry sad lonely proud curious shy brave
    busy serious cheerful pregnant elderly handsome blonde bearded barefoot homeless retired famous
    local friendly sleepy hungry playful wild tiny newborn adorable confident worried surprised
    excited bored muscular stylish elegant mysterious masked armed wounded unknown drunk gentle
    """
)
_TASTY = _split(
    """
    homemade easy fresh healthy creamy crispy vegan spicy sweet delicious roasted grilled baked
    gluten-free organic frozen dried pickled smoked fried stuffed glazed whipped frosted layered
    mini raw juicy tender buttery nutty tangy zesty savory salted sugar-free low-carb tropical
    traditional slow-cooked no-bake sliced chopped mashed steamed braised caramelized candied
    toasted marinated fermented cured rustic classic chunky fluffy chewy sticky crunchy cold
    """
)
_MATERIALS = _split(
    """
    leather wood cotton steel glass silk metal canvas ceramic lace velvet denim wool oak
    plastic aluminum linen marble paper silicone bamboo crystal brass pearl diamond satin
    rubber nylon stone porcelain fleece pine suede copper rattan faux-fur cashmere chrome iron
    concrete jersey mesh vinyl resin felt chiffon acrylic clay teakwood teak wicker cork
    terracotta granite foam flannel corduroy tweed mohair polyester titanium carbon-fiber
    zinc pewter enamel quartz onyx jade opal slate maple birch cedar cherrywood burlap jute hemp
    microfiber spandex organza taffeta tulle gauze bone horn shell plywood cardboard
    """
)
_CLOTHES = _split(
    """
    dress shirt jacket shoe hat boot coat skirt sweater bag jean sneaker scarf hoodie sandal
    watch blouse glove belt suit sock top backpack wallet cap tie handbag cardigan vest tunic
    legging short bikini swimsuit robe pajama gown slipper heel loafer purse clutch tote apron
    bra corset jumpsuit romper blazer parka poncho shawl beanie headband sunglass necktie
    cufflink brooch bracelet ring necklace earring pendant anklet charm tiara locket bangle
    choker costume wig mask uniform jersey kimono sari turtleneck pullover overall raincoat
    windbreaker moccasin clog espadrille stiletto wedge suspender bandana veil
    """
)
_HOUSEHOLD = _split(
    """
    table chair lamp bed sofa cabinet rug mirror clock pillow desk shelf mug blanket vase curtain
    bowl basket box door stool bench plate candle frame towel drawer cup quilt bottle tray
    cushion bookcase dresser wardrobe nightstand ottoman armchair recliner chandelier sconce
    lantern bulb faucet sink bathtub toilet shower tile carpet mat doormat wallpaper mural
    headboard mattress sheet duvet throw hook hanger rack bin jar pot pan kettle teapot pitcher
    glass goblet spoon fork knife spatula whisk grater colander oven stove toaster blender mixer
    refrigerator dishwasher washer dryer iron vacuum broom mop bucket sponge fan heater fireplace
    chimney thermostat switch outlet plug cord hinge knob handle latch bolt lock key doorbell
    mailbox fence gate planter trellis fountain birdhouse hammock umbrella awning gazebo pergola
    grill firepit hose sprinkler rake shovel wheelbarrow lawnmower ladder
    """
)
_GADGETS = _split(
    """
    case phone camera light cable battery charger speaker laptop printer keyboard tablet monitor
    filter holder adapter controller engine bike wheel motor pump remote mount cartridge sensor
    drive stand kit tool drill saw headphone microphone guitar piano drum violin lens tripod
    projector scanner router modem antenna radio turntable amplifier television screen panel
    bracket clamp wrench hammer screwdriver plier nail screw bearing gear valve gasket
    piston gauge meter compass telescope binocular flashlight torch lighter razor
    trimmer brush comb bottle-opener corkscrew scale timer calculator stapler pencil pen marker
    notebook folder envelope label stamp sticker magnet badge puzzle doll robot kite balloon
    teddy stroller crib cradle rattle pacifier highchair swing slide trampoline helmet racket ball
    bat skateboard surfboard paddle kayak canoe tent cooler rod reel lure
    bumper fender headlight windshield tire rim hood spoiler exhaust trailer hitch
    saddle bridle stirrup harness leash collar kennel cage aquarium
    """
)
_FOODS = _split(
    """
    cake chicken chocolate coffee cookie soup salad tea pie bread cheese pizza sauce wine beef
    rice pasta recipe cupcake potato egg pumpkin strawberry apple lemon sandwich burger salmon
    pancake fish banana steak bacon noodle smoothie curry taco muffin onion garlic mushroom
    tomato carrot cabbage spinach broccoli pepper cucumber zucchini avocado bean lentil pea corn
    waffle donut brownie pudding custard tart scone biscuit cracker pretzel popcorn candy
    lollipop caramel toffee honey jam syrup butter cream yogurt milk juice lemonade cocktail
    martini beer cider whiskey vodka rum liqueur orange lime grape cherry peach pear plum mango
    pineapple coconut melon raspberry blueberry blackberry cranberry fig date walnut almond
    peanut hazelnut cinnamon ginger vanilla mint basil thyme rosemary saffron
    sausage ham turkey lamb pork shrimp crab lobster oyster clam tuna sushi dumpling omelette
    quiche casserole stew chili lasagna ravioli risotto meatball
    """
)
_ANIMALS = _split(
    """
    dog cat bird horse fish lion bear wolf butterfly elephant owl fox deer tiger rabbit dragon
    unicorn cow eagle monkey snake pig duck turtle sheep chicken puppy kitten bee goat parrot
    swan frog dolphin whale shark giraffe zebra leopard cheetah panther jaguar camel donkey mule
    squirrel hedgehog badger otter beaver raccoon skunk mouse rat hamster bat mole hare lynx
    falcon hawk heron crane stork pelican seagull penguin puffin flamingo peacock rooster hen
    goose turkey sparrow robin finch swallow raven crow magpie woodpecker hummingbird kingfisher
    lizard gecko iguana crocodile alligator toad newt crab lobster octopus squid jellyfish
    starfish seahorse seal walrus salmon trout carp pike ladybug dragonfly beetle spider ant
    snail caterpillar moth bison moose elk buffalo antelope gazelle hippo rhino gorilla lemur
    koala kangaroo panda sloth
    """
)
_PEOPLE = _split(
    """
    woman man girl baby boy child family couple bride kid mother player student artist friend
    star teacher doctor worker singer actor soldier king queen princess dancer driver model
    father groom daughter son sister brother grandmother grandfather toddler teenager farmer
    fisherman hunter cook chef baker waiter nurse dentist lawyer judge policeman fireman pilot
    sailor captain astronaut scientist engineer mechanic carpenter plumber painter sculptor
    writer poet journalist photographer musician pianist guitarist drummer violinist conductor
    director producer designer architect gardener florist tailor barber hairdresser athlete
    runner swimmer cyclist skier surfer climber hiker boxer wrestler goalkeeper coach fan crowd
    tourist traveler passenger villager monk priest nun bishop pope knight warrior pirate witch
    wizard clown magician mermaid fairy angel vampire zombie ghost superhero senator governor
    mayor president minister candidate protester
    """
)
_PLACES = _split(
    """
    beach city park garden house lake street river mountain forest hotel island sea sky village
    bridge room church castle town field kitchen road school museum sunset harbor valley farm
    office bedroom studio market square coast temple bathroom desert ocean station airport
    palace tower cathedral library theater stadium gallery restaurant cafe bar shop mall factory
    warehouse barn cottage cabin villa mansion apartment balcony terrace patio porch backyard
    courtyard driveway garage basement attic hallway staircase window doorway rooftop skyline
    downtown suburb harborfront pier dock marina lighthouse shore bay cove cliff cave waterfall
    canyon gorge hill meadow prairie vineyard orchard greenhouse pond stream creek swamp marsh
    jungle rainforest savanna glacier volcano dune oasis reef lagoon canal aqueduct dam
    windmill fort ruin monument statue memorial cemetery chapel monastery mosque shrine pagoda
    playground zoo circus carnival fairground racetrack arena gym pool court rink
    campsite trail path highway tunnel crossroads alley sidewalk
    """
)
_PLANTS = _split(
    """
    rose flower tree leaf lily tulip sunflower orchid palm daisy lavender peony cactus poppy
    hydrangea lotus fern magnolia oak maple willow birch pine ivy iris dahlia carnation violet
    daffodil hibiscus jasmine succulent bamboo moss clover thistle lilac azalea camellia begonia
    geranium marigold zinnia chrysanthemum snowdrop crocus hyacinth wisteria bougainvillea
    eucalyptus holly mistletoe heather reed wheat grass bush hedge vine blossom petal bouquet
    wreath branch root seed
    """
)
_VEHICLES = _split(
    """
    car boat train truck ship bicycle motorcycle bus plane tractor van yacht helicopter ferry
    taxi tram sailboat scooter jeep wagon carriage ambulance limousine convertible sedan coupe
    hatchback pickup minivan camper caravan locomotive steamer canoe gondola raft submarine
    rocket glider airship zeppelin sled snowmobile bulldozer excavator forklift
    """
)
_OCCASIONS = _split(
    """
    wedding christmas birthday party halloween summer winter easter spring valentine holiday
    autumn anniversary graduation shower thanksgiving engagement festival parade concert
    ceremony reception carnival picnic banquet funeral baptism reunion prom gala exhibition
    conference workshop auction tournament championship match race marathon olympics election
    protest march rehearsal audition premiere
    """
)
_ART = _split(
    """
    print painting poster canvas illustration art photo drawing sketch photograph portrait
    watercolor design wallpaper picture mural sculpture figurine engraving lithograph etching
    woodcut tapestry mosaic collage fresco statue bust cartoon comic caricature postcard
    calendar bookmark sticker decal banner flyer brochure logo icon vector clipart template
    pattern background texture border silhouette stencil tattoo
    """
)
_THEMES = _split(
    """
    love life time world music art home house heart story dream design game book night day
    guide history power style food health school business travel fashion magic money future
    nature peace war moon fire water light shadow star sun storm rain snow ice wind earth
    heaven hope faith truth freedom justice honor courage fear anger joy sorrow laughter silence
    wisdom beauty youth age death birth memory secret mystery legend myth tale journey road
    adventure quest battle victory defeat kingdom empire crown throne sword shield treasure
    island river ocean mountain forest garden city village bridge tower gate door window mirror
    clock machine science math language grammar poetry drama comedy tragedy romance crime
    murder spy detective hero villain monster demon angel dragon wolf raven rose blood bone
    stone iron steel gold silver dust ash smoke cloud thunder lightning winter summer
    market economy budget tax bank trade energy climate oil gas coal solar nuclear vaccine
    virus cancer diet weight fitness yoga sleep stress anxiety brain skin hair tooth eye
    password network software data privacy security internet website search
    video podcast marketing brand customer team leader strategy project management
    interview resume career salary job training course lesson exam college university scholarship
    """
)
_ACTS = _split(
    """
    walk play stand sit smile swim dance wait jump sleep run sing laugh read work talk fish cook
    paint dream cry wave pose travel rest relax train race surf ski skate climb hike sail row
    camp pray march protest vote speak listen shop drink eat write draw rehearse perform exercise
    stretch meditate knit sew garden celebrate argue hide crawl kneel lean fly dive float drift
    graze bathe yawn whistle whisper shout cheer applaud
    """
)
_DEEDS = _split(
    """
    make find use build buy choose clean fix paint grow save sell design repair create replace win
    install cook bake stop watch open close carry lift push pull throw kick catch hold cut carve
    wash polish sew knit weave plant water harvest feed train rescue hunt chase visit explore
    discover reveal announce launch present award honor elect arrest accuse warn threaten
    promise plan restore decorate collect order deliver pack load grill fry stir pour serve taste
    wear love share download print draw record film photograph describe explain teach learn
    compare measure test prove protect defend attack escape leave reach join lead follow support
    fund ban tax block delay reject approve sign
    """
)
_SELLING = _split(
    """
    sale review guide tutorial pattern idea gallery collection pack bundle series price online
    download wholesale supplier manufacturer deal discount coupon shop outlet catalog brochure
    manual video lesson plan worksheet template example sample tip trick hack step list chart
    map diagram layout floorplan blueprint dimension spec comparison rating question answer
    """
)
FIRST_NAMES = _split(
    """
    John David Michael James Robert Mary Anna Paul Peter Maria William Sarah Thomas George Mark
    Emma Daniel Chris Alex Andrew Laura Richard Charles Jack Lisa Kate Julia Joe Sam Martin
    Elizabeth Kevin Steve Brian Jessica Emily Simon Eric Adam Henry Frank Rachel Nick Ben Max
    Oliver Lucy Sophie Grace Alice Rose Ruby Ella Chloe Amy Jane Susan Karen Nancy Linda Barbara
    Helen Diana Victoria Margaret Ruth Joan Carol Donna Sandra Sharon Cynthia Angela Melissa
    Rebecca Kathleen Teresa Gloria Monica Veronica Sofia Isabel Elena Carmen Lucia Marco Luca
    Giovanni Antonio Carlos Luis Jorge Pedro Diego Pablo Juan Miguel Rafael Fernando Hans Klaus
    Karl Otto Fritz Greta Heidi Ingrid Sven Lars Nils Astrid Freya Björn Pierre
    Jean Jacques Claude Marcel Louis René Ivan Olga Natasha Boris
    Dmitri Sergei Anton Mikhail Yuri Igor Akira Hiro Kenji Yuki Sakura Mei Li Wei Chen Ming Raj
    Priya Anil Sanjay Deepak Amit Ravi Lakshmi Omar Ali Hassan Fatima Leila Ahmed Yusuf Ibrahim
    José Zoë Beyza Tomáš
    """
)
_NATIONS = _split(
    """
    American French Italian Japanese German English Chinese Indian British Spanish Mexican
    Russian Dutch African Irish Greek Swedish Turkish Australian Canadian Persian Egyptian
    Moroccan Scottish Thai Korean Brazilian Cuban Danish Norwegian Finnish Polish Hungarian
    Austrian Swiss Belgian Portuguese Roman Celtic Viking Nordic Alpine Caribbean Hawaiian
    """
)
_REAL_PLACES = _split(
    """
    London Paris York California Texas China Italy Japan India Florida Rome Berlin Chicago
    Canada Spain Australia Germany Boston England Scotland Ireland France Mexico Greece Turkey
    Venice Amsterdam Vienna Prague Barcelona Madrid Lisbon Dublin Edinburgh Manchester Liverpool
    Bristol Oxford Cambridge Toronto Vancouver Montreal Sydney Melbourne Tokyo Kyoto Osaka
    Shanghai Beijing Delhi Mumbai Bangkok Singapore Bali Hawaii Alaska Oregon Nevada Arizona
    Utah Colorado Ohio Michigan Virginia Georgia Seattle Denver Dallas Houston Miami Atlanta
    Philadelphia Detroit Portland Cuba Jamaica Peru Chile Argentina Brazil Bolivia Egypt Morocco
    Kenya Tanzania Nigeria Ghana Israel Lebanon Dubai Iran Nepal Tibet Vietnam Thailand Korea
    Norway Sweden Finland Denmark Iceland Poland Hungary Romania Bulgaria Croatia Serbia Austria
    Switzerland Belgium Portugal Zürich Québec
    """
)
MONTHS = _split(
    """
    January February March April May June July August September October November December
    """
)
_DAYS = _split("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")

# Parts of made words: a stem and an ending make a surname, a town or a brand that nobody has.
_SURNAME_STEMS = _split(
    """
    ash brad carl dun ed fair gar hal har hart hol ken lang mar mor nor pem pres rad rob rut
    san shel sher stan stock sut thorn wake wal war wat wes whit wil win wood black brown cross
    green white king bishop mill fields stone rock dal fal kel mac mc o'br fitz gil hob jef jen
    lam lin mel mil nel par pat per phil ran ric rog ros row sal sam sim stev tal tam thom tim
    tom tur van vin wag wey wyn yar yat zim berg blum ein feld gold haus hoff klein kauf lieb
    mann roth schaf schm stein weis zell del di fer gon gut her lop mart men ort perr ram riv
    rodr sanch tor vaz alv bel cas cor esp bian ferr gall lomb moret ricc rossin vitt petr
    ivan sok vol kuz popov novak kow wis dvor horak nag tak yam sato suz ish mats hash
    """
)
_SURNAME_ENDINGS = _split(
    """
    son er ton ley man s field ford well ing ham den wood more ridge land worth erly all ard in
    ers ins kins ett ell by shaw combe wick ner mann berg stein ez es o i ini elli etti ova ov
    ski sky ek ak ura ada moto aka ier eau ardo and elle ante oni ucci enko evich
    """
)
_TOWN_STEMS = _split(
    """
    oak mill spring green fair river lake wood stone clear maple cedar pine elm ash birch haze
    hill glen dale high north south east west new old long broad mid king queen bishop church
    castle bridge cross market port sand salt clay red white black silver gold iron copper lead
    crow eagle hawk swan fox wolf bear deer stag ram lamb horse bull beaver otter brook marsh
    moor heath fern rose thorn bram berry apple cherry plum wheat barley corn honey sun moon star
    storm winter summer harvest bel mont val san santa villa alten neu ober unter klein gross
    bad frei hoch kirch lang roth schwarz stein wald kar nov staro zel bor dub hav jas krup lit
    mor nad olm pod rad sed tab ust ves zab aka fuku hiro ishi kawa kita matsu minami naga oka
    saka taka toyo yama cha dar gul hyder jai kol luck mal nag pat raj sur udai var
    """
)
_TOWN_ENDINGS = _split(
    """
    ville ton burg field ford wood dale port side view haven land ham bury mouth worth stead
    brook well borough bridge gate hurst ley wick by thorpe minster combe shire pool berg dorf
    heim hausen stadt bach tal au feld furt owice ice any ov sk grad ets nik ino abad pur nagar
    garh kot shima moto yama saki mura zaki oka ara allo ella etto ona ano arano ac
    """
)
_SYLLABLES = _split(
    """
    ka lo ra mi to na sa re li ma vo ne di ta ri co be lu zo fi ki ba no ve xa mo pa de ro si
    ja ha ce fe ga go la le me mu nu pe pi po ru sha so su te ti tra va vi wa ya yo za ze zi
    al an ar as bel bor can cor dan del dor el em en er es fal fin gal gar hal har il in is jen
    kal kar kel kin kor lan len lin lor mal mar mel mer min mon mor nel nor or os pan par per
    pol por quin ral ran rel ren ris rol ros sal san sel sen ser sil sol sor stel tal tan tar
    tel ten ter tin tol tor tran ul un ur val van vel ven ver vil vin vol wal wen wil win xan
    yar yen zan zel zen zor blu bri cla cle cro dre dro fla flo fre glo gra gri kla kri plu pra
    pri pro sca ske sko sla smo sna spa spe sta sto stri swi tri tru twi
    """
)
_BRAND_ENDINGS = _split(
    """
    a o x tex co on ex is ix ia io us um al el ly ty zy max tech ware line lux pro nova land
    wear gear kraft haus mark form craft well ton ville ette ine ique ay ixa or er en in an
    """
)
_WORD_STEMS = _split(
    """
    moon sun star sea rain snow wind storm fire water wood stone sand rock iron gold silver
    book door head hand foot back side over under out up down land farm house home room bed
    bath work play day night time week year life love heart blood bone eye ear nose hair skin
    horse dog cat cow pig bird bee fish fox wolf bear deer apple berry corn nut pea bean butter
    milk egg bread cake pan pot cup tea coffee wine beer salt pepper sugar honey road rail way
    air ship boat car wheel motor gear power light lamp flash spot high low long short broad
    wide deep hard soft black white blue red green brown grey hot cold warm cool fast slow quick
    free full half quarter double single every some any thunder shadow dream wonder fairy ghost
    witch dragon king queen knight lord lady master mid fore hind inter super hyper micro mega
    multi photo video tele auto bio eco geo hydro electro thermo cyber
    """
)
_WORD_TAILS = _split(
    """
    light house book side work board way man land field room line wood back ball down time yard
    berry fish bird flower stone water fall shine beam storm wind rise set break fast walk ride
    drive ways maker keeper holder cutter cleaner opener warmer cooler stand rest case bag box
    pot pan cup glass plate knife ring band chain lock key gate wall top bottom end point mark
    scape craft ware wear coat shirt tail head hand foot eye hair skin dress shoe cloth paper
    card note print picture graph phone scope meter port ship boat car bike wheel cycle truck
    farm stead town hill dale brook ford bridge mill shop mate friend fellow folk child hood
    dom ness less ful like wise some worthy proof friendly ready free made born bound long wide
    deep high er ers ing ed y ish able
    """
)

_YEARS = tuple(str(year) for year in (*range(2021, 1989, -1), *range(1989, 1859, -1)))
_NUMBERS = tuple(str(number) for number in range(1, 100))
_LARGE_NUMBERS = tuple(str(number) for number in range(100, 1_000))
_FOUR_DIGITS = tuple(f"{number * 7919 % 10_000:04}" for number in range(4_000))
_MEASURES = (*(3, 4, 5, 6, 8, 9, 10, 11, 12, 14, 15, 16, 18, 20, 22, 24, 27, 30, 36, 40, 48, 60),)
_LETTERS = "SABCMTDPRLGEFHKNWVXZJQUY"
_CODE_LETTERS = tuple(
    "".join(letters)
    for length in (2, 1, 3)
    for letters in list(product(_LETTERS[: 24 - 6 * (length - 1)], repeat=length))[:400]
)
_ACRONYMS = _split(
    """
    LED USB DVD HD XL CD PC TV UK RV DIY SUV LCD GPS USA UV 3D XXL 4K EU NYC LA BBQ PVC AC DC MP3
    ABS PDF HDMI VIP CEO NEW SALE TOP PRO MAX MINI II III IV GT RS SE LX EX XS RGB OEM HP EUR UN
    """
)
_HASH_PARTS = tuple(f"{number * 40_503 % 65_536:04x}" for number in range(4_000))


def _mix(nouns: tuple[str, ...], share: int) -> tuple[str, ...]:
    """Returns the nouns with the plurals of most, each as much rarer as the share says."""
    mixed: list[str] = []
    for rank, noun in enumerate(nouns):
        mixed.append(noun)
        if rank % share == 0:
            mixed.append(plural(noun))
    seen = set(mixed)
    return (*mixed, *(more for noun in nouns if (more := plural(noun)) not in seen))


def _sort(words: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the words with the short ones in front, since common words are short (Zipf, 1949)."""
    return tuple(sorted(words, key=len))


# Name, then what is added to each rank: the larger, the more alike are the shares of its words.
POOLS: dict[str, tuple[tuple[str, ...], int]] = {
    "colour": (_COLOURS, 6),
    "adjective": (_sort(_ADJECTIVES), 140),
    "crafted": (_sort(_CRAFTED), 150),
    "scenic": (_SCENIC, 50),
    "mood": (_MOODS, 40),
    "tasty": (_TASTY, 40),
    "anadjective": (tuple(map(_add_article, _ADJECTIVES)), 80),
    "acolour": (tuple(map(_add_article, _COLOURS)), 3),
    "aplace": (tuple(f"{_add_article(one)} {two}" for two in _PLACES for one in _SCENIC[:40]), 600),
    "aperson": (tuple(map(_add_article, _PEOPLE)), 50),
    "amood": (tuple(map(_add_article, _MOODS)), 40),
    "ananimal": (tuple(map(_add_article, _ANIMALS)), 60),
    "material": (_MATERIALS, 40),
    "garment": (_sort(_mix(_CLOTHES, 3)), 80),
    "household": (_sort(_mix(_HOUSEHOLD, 4)), 200),
    "gadget": (_sort(_mix(_GADGETS, 4)), 200),
    "food": (_sort(_mix(_FOODS, 4)), 200),
    "animal": (_ANIMALS, 90),
    "animals": (tuple(plural(noun) for noun in _ANIMALS), 90),
    "person": (_PEOPLE, 90),
    "people": (tuple(plural(noun) for noun in _PEOPLE), 90),
    "place": (_sort(_PLACES), 120),
    "plant": (_mix(_PLANTS, 2), 80),
    "vehicle": (_mix(_VEHICLES, 4), 20),
    "occasion": (_OCCASIONS, 8),
    "art": (_ART, 10),
    "arts": (tuple(plural(noun) for noun in _ART), 4),
    "theme": (_sort(_THEMES), 200),
    "acting": (tuple(_bend(verb, "ing") for verb in _ACTS), 60),
    "making": (tuple(_bend(verb, "ing") for verb in _DEEDS), 200),
    "make": (_sort(_DEEDS), 200),
    "makes": (tuple(map(plural, _DEEDS)), 200),
    "offer": (_sort(_SELLING), 25),
    "first": (FIRST_NAMES, 400),
    "nation": (_NATIONS, 4),
    "country": (_REAL_PLACES, 100),
    "month": (MONTHS, 40),
    "day": (_DAYS, 40),
    "surnamestem": (_sort(_SURNAME_STEMS), 600),
    "surnameend": (_sort(_SURNAME_ENDINGS), 100),
    "townstem": (_sort(_TOWN_STEMS), 600),
    "townend": (_sort(_TOWN_ENDINGS), 100),
    "syllable": (_sort(_SYLLABLES), 40),
    "brandstem": (_sort(_SYLLABLES), 250),
    "brandend": (_sort(_BRAND_ENDINGS), 40),
    "wordstem": (_sort(_WORD_STEMS), 300),
    "wordtail": (_sort(_WORD_TAILS), 150),
    "year": (_YEARS, 8),
    "date": (tuple(map(str, range(1, 29))), 40),
    "number": (_NUMBERS, 3),
    "large": (_LARGE_NUMBERS, 60),
    "digits": (_FOUR_DIGITS, 60),
    "measure": (tuple(map(str, _MEASURES)), 10),
    "initial": (tuple("JAMSRCDEBLPTKHGWFN"), 40),
    "acronym": (_ACRONYMS, 12),
    "letters": (_CODE_LETTERS, 15),
    "hash": (_HASH_PARTS, 60),
}
PROPER = frozenset(
    ("first", "nation", "country", "month", "day", "surnamestem", "townstem", "brandstem")
)
