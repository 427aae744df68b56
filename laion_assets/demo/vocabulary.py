# Look-alike characters are the point: captions of the web have them. Long pools read as prose.
# ruff: noqa: RUF001, SIM905
"""What sample shards are made of: invented sites, words of file names, phrases of many languages.

A pool is a tuple drawn from uniformly; what stands in it several times is drawn more often. The
order and length of every pool are part of the sample data: a change here changes all rows.
"""

COMMON_WORDS = tuple(
    """
    art print vintage painting canvas portrait landscape photo design wall poster home
    modern antique white black blue red green gold silver house wedding woman girl man
    flowers beautiful watercolor oil abstract illustration photography garden interior
    kitchen bedroom living room decor framed original handmade beach sunset mountain lake
    forest winter summer autumn spring city street night light sky ocean river tree trees
    rose bird birds cat dog horse lion tiger wolf butterfly eagle elephant fish owl fox deer
    bear child baby boy family bride dress fashion style hair shoes jewelry necklace ring
    earrings bracelet diamond leather wood wooden metal glass ceramic stone marble bronze
    copper steel iron cotton linen silk wool velvet lace paper card cards invitation
    template vector background pattern seamless texture logo icon set collection series
    edition limited signed large small big tiny little round square long short tall new old
    classic retro rustic elegant luxury simple minimalist colorful bright dark soft warm
    cool fresh natural organic floral tropical botanical nautical industrial bohemian
    victorian gothic baroque medieval ancient oriental french italian spanish german english
    american japanese chinese indian russian african dutch royal sacred museum gallery
    exhibition artist painter sculpture statue figurine vase bowl plate cup mug teapot lamp
    chandelier mirror clock table chair sofa bed desk shelf cabinet door window floor
    ceiling roof bridge castle church cathedral temple palace tower cottage villa apartment
    hotel restaurant cafe bar shop market village town island valley desert waterfall coast
    harbor boat ship sailing train car truck motorcycle bicycle plane airport station road
    path field farm barn meadow vineyard park zoo aquarium school library theater stage
    concert music guitar piano violin drum dance ballet opera movie film scene actor king
    queen prince princess knight warrior dragon fairy angel mermaid unicorn witch wizard
    ghost skull zombie robot space planet moon star stars galaxy sun rain snow storm cloud
    clouds fog fire water ice sand rock shell feather leaf leaves grass cherry blossom tulip
    lily orchid sunflower lavender peony poppy daisy iris lotus cactus palm oak pine maple
    apple lemon orange strawberry grape cake chocolate coffee tea wine bread cheese pizza
    salad soup recipe healthy dinner breakfast dessert cookies birthday christmas halloween
    easter valentine party holiday gift ideas tattoo sketch drawing pencil charcoal ink
    pastel acrylic digital concept fantasy character game anime cartoon comic book cover
    page story magazine calendar sticker shirt hoodie bag pillow blanket curtain rug
    tapestry quilt wallpaper mural stock image picture pictures free download high quality
    resolution quotes inspiration project tutorial diy plans makeup model face eyes smile
    hands heart love happy peace dream magic secret hidden lost wild free-standing close-up
    hand-painted black-and-white mid-century one-of-a-kind
    """.split()
)

SITE_WORDS = tuple(
    """
    lumora pinwood artful casa gallery frame decora nordic atelier canvas photo print studio
    villa garden bloom velvet amber cobalt indigo willow maple cedar harbor river stone
    copper silver golden crimson ivory raven sparrow heron falcon otter badger meadow
    prairie summit ridge valley coast island lagoon coral pearl opal quartz onyx jasper
    saffron ginger pepper olive lemon berry cherry plum fig honey clover thistle fern moss
    lichen birch aspen linden juniper hazel rowan alder poplar cypress sequoia lotus iris
    dahlia zinnia aster poppy tulip violet lilac jasmine
    """.split()
)

SITE_KINDS = tuple(
    """
    art arts prints posters decor design home house living rooms shop store market bazaar
    outlet direct depot gallery museum archive library press news daily times weekly journal
    magazine blog notes stories diary travel tours trips hotels resorts maps guides foto
    photos pics images media studio works craft crafts maker makers goods supply trade
    auctions lots antiques vintage retro classics modern fashion style wear boutique jewels
    gems rings weddings brides events parties gifts cards books comics games toys kids pets
    dogs cats horses birds garden plants flowers kitchen recipes food bakery coffee tea wine
    cars motors bikes boats
    """.split()
)

SYLLABLES = tuple(
    """
    ba be bi bo bra bre ca ce chi co cra da de di dor dra el en er fa fe fi flo fra ga ge gi
    gra ha he hi hol il in is ja jo ka ke ki kra la le li lo lu ma me mi mo na ne ni no or
    os pa pe pi po pra qua ra re ri ro sa sche se si so sta ta te thi to tra ul un va ve vi
    vo wa we wi xa ya yo za ze zi zo
    """.split()
)

DIRECTORIES = tuple(
    """
    images img uploads media photos products catalog gallery content assets static files
    wp-content/uploads images/products media/catalog/product content/dam sites/default/files
    data/thumbs cache/800x600 galeria fotos bilder collections/prints blog/posts
    archive/large p s i resize/w600 _next/image user%20files caf%C3%A9 cdn-cgi/image/f=auto
    art@home foo//bar a/b/c v1;p=2
    """.split()
)

# The sites that the most rows come from, in that order.
FAMOUS_SITES = (
    "i.pinboard.example",
    "cdn.shop-lumora.example",
    "images.printhaus.test",
    "images.fineartmarket.example",
    "render.wallcanvas.test",
    "media.auctionhall.example",
    "thumbs.stockwell.example",
    "i.etcetera-crafts.example",
    "live.shutterfield.test",
    "m.media-bazaar.example",
    "farm5.photostream.example",
    "upload.openmuseum.example",
    "images.squarepage.test",
    "1.bp.weblogger.example",
)
SITE_PREFIXES = (
    *("www.",) * 8,
    *("",) * 8,
    *("cdn.", "images.", "img.", "static.", "media.") * 2,
    *("i.", "blog.", "shop.", "assets.eu.", "s3.", "de.", "i0.wp."),
)
TOP_LEVELS = (*(".example",) * 7, *(".test",) * 3)

SCHEMES = (*("https://",) * 178, *("http://",) * 20, "HTTPS://", "Http://")
USERS = (*("",) * 597, "anna@", "photo:press@", "guest%40site:@")
PORTS = (*("",) * 196, ":8080", ":443", ":80", ":8443")
EXTENSIONS = (*(".jpg",) * 28, *(".jpeg", ".png") * 3, ".JPG", ".webp", ".gif", ".jpg.webp", "")
CAMERA_NAMES = (
    "IMG_",
    "DSC0",
    "DSC_",
    "P10",
    "image-",
    "photo",
    "il_fullxfull.",
    "Screen%20Shot%20",
)
QUERIES = (
    *("",) * 40,
    "?w=600",
    "?v=1571438585",
    "?fit=crop&auto=format",
    "?width=800&height=600&crop=1",
    "?src=https://www.pinwood.example/a.jpg",
    "?from=anna@studio.example",
    "?t=12:30",
    "?resize=640%2C480&ssl=1",
    "?",
)
FRAGMENTS = (*("",) * 99, "#main", "#/gallery/12", "#photo?2")
# What follows the host where there is no path.
BARE_ENDINGS = ("", "/", "?id=7", "#top", "?image=a/b.jpg")

BROKEN_URLS = (
    *(None,) * 3,
    *("", "   ") * 2,
    "not a url",
    "http:///path",
    "https://",
    "/images/1.jpg",
    "data:image/png;base64,AAAA",
    "http://:80/x.jpg",
)
BROKEN_CAPTIONS = (*(None,) * 3, *("",) * 3, " ", "   ")

# What stands before and after a name.
NAME_SURROUNDINGS = (
    ("", ""),
    ("", ""),
    ("Portrait by ", ""),
    ("", " - poster"),
    ("", "'s garden"),
    ("", "’s garden"),
    ("after ", ","),
    ("by ", " |"),
    ("(", ")"),
    ("“", "”"),
    ("&quot;", "&quot; print"),
    ("", ", framed art print"),
    ("The life of ", ":"),
    ("#", ""),
    ("", "-style"),
    ("", "/detail"),
)

# Stood before or after a caption: entities, emoji of several ages, typography, other widths.
DECORATIONS = (
    *("Arts &amp; Crafts", "&quot;Spring&quot;", "it&#39;s here", "&lt;3", "rock &#39;n&#39; roll"),
    *("6&quot; x 9&quot;", "&#8211; new", "&nbsp;", "...", "***", "<b>NEW</b>", "100% cotton"),
    *("😍", "❤️", "🎨✨", "☺", "👩‍🎨", "👨‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪", "🫠", "🫶🏾", "🪿", "🫩"),
    *(
        "Ｆｕｌｌ　ｗｉｄｔｈ",
        "ＡＲＴ",
        "it’s",
        "‘old’",
        "– detail",
        "wait…",
        "Lumora®",
        "Pinwood™",
    ),
    *("cafe\u0301", "nai\u0308ve", "A\u030angstro\u0308m", "photo\u00adgraphy", "zero\u200bwidth"),
    *("½ price", "21×30 cm", "№ 5", "€ 20", "ﬁne art", "x² + y²", "Größe L", "crème brûlée"),
)

# One language each, and as many phrases in every one.
PHRASES = (
    ("Schöne Wandbilder für das Wohnzimmer", "Gemälde auf Leinwand", "Größe wählbar",
     "Weihnachten im Süden", "Straße bei Nacht", "handgemachte Tür aus Eichenholz"),
    ("Tableau décoratif moderne", "l’été à la plage", "Affiche déco pour la cuisine",
     "château en forêt", "peinture à l'huile", "où trouver la lumière"),
    ("Cuadro al óleo de la montaña", "decoración para el salón", "niña con flores de otoño",
     "¿Cómo pintar un árbol?", "diseño clásico en España", "el corazón de la ciudad"),
    ("Картина маслом на холсте", "зимний лес", "Красивые цветы", "купить в подарок",
     "ёлка в городе", "портрет неизвестной"),
    ("富士山と桜", "かわいい猫のイラスト", "アートポスター", "ﾊﾝﾄﾞﾒｲﾄﾞ", "油絵 額付き",
     "ガラスの花瓶"),
    ("山水画", "现代客厅装饰画", "美丽的花园", "手绘油画", "繁體中文海報", "高清壁纸 下载"),
    ("لوحة فنية جميلة", "غرفة نوم حديثة", "خط عربي", "زهور الربيع", "صورة للمدينة ليلا", "تصميم"),
    ("सुंदर चित्र", "हिन्दी कविता", "घर की सजावट", "फूलों का बगीचा", "दीवार कला", "प्राचीन मंदिर"),
    ("아름다운 풍경 사진", "거실 인테리어", "수채화 그림", "봄꽃 정원",
     "고양이 포스터", "한옥 마을"),
    ("İstanbul'da gün batımı", "yağlı boya tablo", "çiçekli bahçe", "güzel bir kış günü",
     "IĞDIR manzarası", "el yapımı ahşap saat"),
    ("Obraz olejny na płótnie", "piękny zamek w górach", "żółte kwiaty", "plakat do kuchni",
     "Święta w Łodzi", "źródło światła"),
    ("Ζωγραφική σε καμβά", "ελληνικό νησί", "μπλε θάλασσα", "Αφίσα",
     "λουλούδια της άνοιξης", "ΤΕΧΝΗΣ"),
    ("tranh sơn dầu", "phong cảnh Việt Nam", "hoa sen đẹp",
     "nhà ở nông thôn", "bức tường", "mùa thu Hà Nội"),
    ("ภาพวาดสีน้ำมัน", "ดอกไม้สวย", "บ้านริมทะเล", "ศิลปะไทย", "โปสเตอร์", "วัดโบราณ"),
    ("ציור שמן", "פרחים יפים", "ירושלים בלילה", "עיצוב הבית", "תמונה על קנבס", "ספר ישן"),
    ("quadro decorativo para sala", "coração e paixão", "São Paulo à noite", "flores de maçã",
     "avó e avô", "pôr do sol no verão"),
)  # fmt: skip
PHRASE_SEPARATORS = (" ", " ", " - ", ", ", " | ", "、")
