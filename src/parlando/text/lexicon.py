"""Words behind signs: the tables that ``normalize`` reads.

Pure data in American English; a spoken letter is one capital (``U S A``).
"""

# ruff: noqa: SIM905
# (Lists of words read better as one text.)
# fmt: off
CURRENCIES: dict[str, tuple[str, str, str, str]] = {
    "$": ("dollar", "dollars", "cent", "cents"), "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"), "¥": ("yen", "yen", "", ""),
    "₹": ("rupee", "rupees", "paisa", "paise"), "₩": ("won", "won", "", ""),
    "₽": ("ruble", "rubles", "kopek", "kopeks"), "₿": ("bitcoin", "bitcoins", "", ""),
    "USD": ("U S dollar", "U S dollars", "cent", "cents"),
    "EUR": ("euro", "euros", "cent", "cents"),
    "GBP": ("British pound", "British pounds", "penny", "pence"),
    "JPY": ("Japanese yen", "Japanese yen", "", ""),
    "CHF": ("Swiss franc", "Swiss francs", "centime", "centimes"),
    "CAD": ("Canadian dollar", "Canadian dollars", "cent", "cents"),
    "AUD": ("Australian dollar", "Australian dollars", "cent", "cents"),
}
"""Sign or code to (one, many, one hundredth, many hundredths); empty where there are none."""

MAGNITUDES: dict[str, str] = {
    "k": "thousand", "K": "thousand", "m": "million", "mn": "million", "M": "million",
    "b": "billion", "bn": "billion", "B": "billion", "tn": "trillion", "T": "trillion",
    "thousand": "thousand", "million": "million", "billion": "billion", "trillion": "trillion",
}
"""What may follow an amount of money."""

UNITS: dict[str, tuple[str, str]] = {
    symbol: (one, many or one + "s")
    for symbol, one, many in (
        ("km", "kilometer", ""), ("m", "meter", ""), ("cm", "centimeter", ""),
        ("mm", "millimeter", ""), ("µm", "micrometer", ""), ("nm", "nanometer", ""),
        ("mi", "mile", ""), ("yd", "yard", ""), ("ft", "foot", "feet"),
        ("kg", "kilogram", ""), ("g", "gram", ""), ("mg", "milligram", ""), ("µg", "microgram", ""),
        ("lb", "pound", ""), ("lbs", "pound", ""), ("oz", "ounce", ""),
        ("L", "liter", ""), ("l", "liter", ""), ("mL", "milliliter", ""), ("ml", "milliliter", ""),
        ("cl", "centiliter", ""), ("dl", "deciliter", ""), ("gal", "gallon", ""),
        ("tbsp", "tablespoon", ""), ("tsp", "teaspoon", ""),
        ("h", "hour", ""), ("hr", "hour", ""), ("hrs", "hour", ""), ("min", "minute", ""),
        ("mins", "minute", ""), ("s", "second", ""), ("sec", "second", ""), ("secs", "second", ""),
        ("ms", "millisecond", ""), ("µs", "microsecond", ""), ("ns", "nanosecond", ""),
        ("mph", "mile per hour", "miles per hour"),
        ("mpg", "mile per gallon", "miles per gallon"),
        ("kph", "kilometer per hour", "kilometers per hour"),
        ("Hz", "hertz", "hertz"), ("kHz", "kilohertz", "kilohertz"),
        ("MHz", "megahertz", "megahertz"), ("GHz", "gigahertz", "gigahertz"),
        ("dB", "decibel", ""), ("W", "watt", ""), ("kW", "kilowatt", ""), ("MW", "megawatt", ""),
        ("GW", "gigawatt", ""), ("kWh", "kilowatt hour", ""), ("Wh", "watt hour", ""),
        ("V", "volt", ""), ("mV", "millivolt", ""), ("kV", "kilovolt", ""),
        ("mA", "milliamp", ""), ("mAh", "milliamp hour", ""), ("Ω", "ohm", ""),
        ("KB", "kilobyte", ""), ("kB", "kilobyte", ""), ("MB", "megabyte", ""),
        ("GB", "gigabyte", ""), ("TB", "terabyte", ""), ("PB", "petabyte", ""),
        ("kbps", "kilobit per second", "kilobits per second"),
        ("Mbps", "megabit per second", "megabits per second"),
        ("Gbps", "gigabit per second", "gigabits per second"),
        ("fps", "frame per second", "frames per second"), ("rpm", "R P M", "R P M"),
        ("psi", "P S I", "P S I"), ("px", "pixel", ""), ("dpi", "D P I", "D P I"),
        ("kcal", "kilocalorie", ""), ("cal", "calorie", ""), ("kJ", "kilojoule", ""),
        ("hPa", "hectopascal", ""), ("kPa", "kilopascal", ""), ("Pa", "pascal", ""),
        ("ha", "hectare", ""), ("ppm", "part per million", "parts per million"),
        ("sq ft", "square foot", "square feet"), ("sq. ft.", "square foot", "square feet"),
        ("km^2", "square kilometer", ""), ("m^2", "square meter", ""),
        ("cm^2", "square centimeter", ""), ("ft^2", "square foot", "square feet"),
        ("m^3", "cubic meter", ""), ("cm^3", "cubic centimeter", ""),
    )
}
"""Unit symbol to (one, many)."""

GLUED_UNITS: dict[str, tuple[str, str]] = {"in": ("inch", "inches")}
"""Units that are words of their own when a space parts them from the number."""

STANDALONE_UNITS: tuple[str, ...] = (
    "km", "cm", "mm", "kg", "kHz", "MHz", "GHz", "KB", "MB", "GB", "TB", "mph", "kWh", "Mbps",
)
"""Units that are read also where no number stands before them."""

PER: dict[str, str] = {
    "h": "hour", "hr": "hour", "hour": "hour", "min": "minute", "minute": "minute", "s": "second",
    "sec": "second", "second": "second", "day": "day", "d": "day", "week": "week", "wk": "week",
    "month": "month", "mo": "month", "year": "year", "yr": "year", "night": "night",
    "person": "person", "mile": "mile", "mi": "mile", "gal": "gallon", "gallon": "gallon",
    "kg": "kilogram", "lb": "pound", "oz": "ounce", "L": "liter", "l": "liter", "m": "meter",
    "km": "kilometer", "m^2": "square meter", "km^2": "square kilometer", "m^3": "cubic meter",
    "s^2": "second squared",
    "unit": "unit", "hectare": "hectare", "capita": "capita", "user": "user",
}
"""What may follow a slash after an amount."""

MONTHS: dict[str, str] = {
    short: name
    for name in (
        "January", "February", "March", "April", "May", "June", "July", "August", "September",
        "October", "November", "December",
    )
    for short in {name, name[:3], name[:4] if name == "September" else name}
}
"""Month names and their short forms to the name."""

WEEKDAYS: dict[str, str] = {
    "Mon": "Monday", "Tue": "Tuesday", "Tues": "Tuesday", "Wed": "Wednesday", "Thu": "Thursday",
    "Thur": "Thursday", "Thurs": "Thursday", "Fri": "Friday",
}

NUMBERED: dict[str, str] = {
    "no": "number", "nos": "numbers", "p": "page", "pp": "pages", "vol": "volume",
    "vols": "volumes", "ch": "chapter", "chap": "chapter", "fig": "figure", "figs": "figures",
    "sec": "section", "eq": "equation", "art": "article", "pt": "part", "apt": "apartment",
    "ver": "version", "ed": "edition", "ext": "extension", "para": "paragraph", "ref": "reference",
}
"""Abbreviations (without their dot) that are read so before a number."""

TITLES: dict[str, str] = {
    "Mr": "Mister", "Mrs": "Missus", "Ms": "Miz", "Messrs": "Messieurs", "Prof": "Professor",
    "Rev": "Reverend", "Hon": "Honorable", "Gen": "General", "Col": "Colonel", "Capt": "Captain",
    "Cpt": "Captain", "Lt": "Lieutenant", "Sgt": "Sergeant", "Maj": "Major", "Cmdr": "Commander",
    "Adm": "Admiral", "Gov": "Governor", "Sen": "Senator", "Rep": "Representative",
    "Pres": "President", "Supt": "Superintendent", "Mt": "Mount", "Ft": "Fort", "Fr": "Father",
}
"""Abbreviations before a name; their dot never ends a sentence."""

ABBREVIATIONS: dict[str, str] = {
    "etc": "et cetera", "vs": "versus", "approx": "approximately", "dept": "department",
    "Dept": "Department", "est": "established", "Est": "Established", "govt": "government",
    "Ave": "Avenue", "Blvd": "Boulevard", "Rd": "Road", "Ln": "Lane", "Hwy": "Highway",
    "Pkwy": "Parkway", "Sq": "Square", "Inc": "Incorporated", "Corp": "Corporation",
    "Ltd": "Limited", "Co": "Company", "Bros": "Brothers", "Jr": "Junior", "Sr": "Senior",
    "Esq": "Esquire", "al": "others", "cf": "compare", "viz": "namely", "ca": "circa",
    "Univ": "University", "Assn": "Association", "Intl": "International", "Mfg": "Manufacturing",
    "misc": "miscellaneous", "tel": "telephone", "Tel": "Telephone", "min": "minimum",
    "max": "maximum", "avg": "average", "incl": "including", "excl": "excluding",
    "temp": "temperature", "resp": "respectively", "Jan": "January", "Feb": "February",
    "Aug": "August", "Sept": "September", "Oct": "October", "Nov": "November", "Dec": "December",
    **WEEKDAYS,
}
"""Abbreviations that are read so with a dot after them."""

PHRASES: dict[str, str] = {
    "e.g.": "for example", "i.e.": "that is", "a.k.a.": "also known as", "aka": "also known as",
    "et al.": "and others", "w/o": "without", "w/": "with ", "b/c": "because", "and/or": "and or",
    "'n'": "and", "Ph.D.": "P H D", "PhD": "P H D", "pH": "P H", "24/7": "twenty-four seven",
    "9/11": "nine eleven", "50/50": "fifty fifty", "20/20": "twenty twenty",
    "n/a": "not applicable",
    "N/A": "not applicable", "c/o": "care of", "he/she": "he or she", "his/her": "his or her",
    "s/he": "she or he", "either/or": "either or", "yes/no": "yes or no", "Yes/No": "yes or no",
    "vs": "versus", "vs.": "versus", "p.s.": "P S", "911": "nine one one", "AC/DC": "A C D C",
    "C++": "C plus plus", "C#": "C sharp", "F#": "F sharp", ".NET": "dot net", "R&B": "R and B",
    "Q&A": "Q and A", "401k": "four oh one K",
    "401K": "four oh one K", "401(k)": "four oh one K", "R&D": "R and D", "AT&T": "A T and T",
}
"""Fixed spellings, replaced where they stand alone."""

SYMBOLS: dict[str, str] = {
    "&": "and", "@": "at", "#": "hash", "+": "plus", "=": "equals", "%": "percent",
    "‰": "per mille",
    "°": "degrees", "×": "times", "÷": "divided by", "±": "plus or minus", "≈": "approximately",
    "≠": "is not equal to", "≤": "is at most", "≥": "is at least", "<": "less than",
    ">": "greater than", "√": "square root of", "∞": "infinity", "→": "to", "←": "from",
    "∑": "sum", "∫": "integral", "∂": "partial", "∈": "in", "§": "section", "¶": "paragraph",
    "©": "copyright", "$": "dollar", "£": "pound", "€": "euro", "¥": "yen", "¢": "cent",
    "₹": "rupee", "/": "slash", "^": "caret", "Ω": "ohm", "µ": "micro",
    "⇒": "implies", "−": "minus", "¬": "not", "∧": "and", "∨": "or", "℞": "prescription",
}
"""Signs that are read wherever they are left over."""

SENTENCE_OPENERS: frozenset[str] = frozenset(
    """A An And As At But By For He Her His How I If In It Its My No Not Of On One Or Our She So
    Some
    That The Then There These They This Those To We What When Where Which Who Why With Yes You
    Your""".split()
)
"""Capitalised words that open a sentence and are no surname after an initial."""

SPOKEN_ACRONYMS: frozenset[str] = frozenset(
    """NASA NATO UNESCO UNICEF OPEC AIDS LASER RADAR SCUBA SONAR NAFTA FIFA UEFA ASCII RAM ROM PIN
    SIM GIF GUI POTUS SCOTUS FLOTUS COVID SARS MERS ASEAN SWAT NASDAQ EBITDA DARPA CERN MENSA
    NOAA OSHA FEMA HIPAA LIDAR MODEM NIMBY YOLO LOL FOMO BIOS CAPTCHA WASP ZIP TED SEAL SIDS TAXI
    BASIC COBOL FORTRAN LAN WAN JAVA LINUX UNIX GNU YAHOO IKEA LEGO VISA NIKE MOOC BREXIT GAAP
    PETA SALT AMBER CAD MASH""".split()
)
"""Acronyms that are words."""

RESPELLED_ACRONYMS: dict[str, str] = {
    "JPEG": "jay peg", "MPEG": "em peg", "SQL": "sequel", "JSON": "jason", "YAML": "yammel",
    "OK": "okay", "IEEE": "I triple E", "NAACP": "N double A C P", "GHZ": "gigahertz",
    "ID": "I D", "NBA": "N B A", "TV": "T V", "WYSIWYG": "wizzywig", "LaTeX": "lay tek",
    "SATA": "say ta", "CMOS": "see moss", "BTW": "by the way", "IMO": "in my opinion",
}
"""Acronyms with a reading of their own."""

SPELLED_ACRONYMS: frozenset[str] = frozenset(
    """USA US UK EU UN UAE FBI CIA NSA IRS USSR BBC CNN ABC NBA NFL NHL MLB UFC IBM AMD AOL HBO
    IRA MBA
    CEO CFO CTO COO VIP DIY FAQ ETA ATM AI IT HR PR TV DVD CD PC UI UX API URL URI USB GPU CPU HTML
    HTTP HTTPS CSS XML PDF DNA RNA HIV MRI ICU ER OCD ADHD IQ GPA SUV UFO AM PM AD BC BCE CE EST PST
    CET GMT UTC GDP IPO ROI LED LCD OS IOS IP ISP VPN SEO EDM DJ MC UCLA MIT USC NYU LA NY DC SOS
    FYI     ASAP ETF ESPN UPS USPS AAA AARP ACLU AFAIK IOU SAT ACT LSAT RIP OCR ASR TTS LLM IEA
    IMF WHO WTO
    EPA FDA FCC FAA DEA DOJ DOE DMV DUI AKA IPA OLED EKG EEG ECG IVF PTA IED ICBM AOC JFK MLK RSVP
    UEI UTF ISO IEC ADA AWS SDK IDE ORM ISBN RGB OAP ITV MIA KIA""".split()
)
"""Acronyms that look like words and are spelled all the same."""

SHORT_WORDS: frozenset[str] = frozenset(
    """A AH AM AN AS AT BE BY DO GO HE HI IF IN IS IT ME MY NO OF OH ON OR OW OX SO TO UP US WE YE
    ADD AGE AGO AID AIM AIR ALL AND ANY ARE ARM ART ASK ATE BAD BAG BAN BAR BAT BED BEE BEG BET BIG
    BIT BOX BOY BUG BUS BUT BUY CAN CAP CAR CAT COP COW CRY CUP CUT DAD DAY DIE DID DIG DOG DRY DUE
    EAR EAT EGG END EYE FAN FAR FAT FEW FIT FIX FLY FOR FOX FUN GAS GET GOD GOT GUN GUY HAD HAS HAT
    HER HEY HID HIM HIS HIT HOT HOW HUG ICE ILL INK ITS JOB JOY KEY KID LAW LAY LEG LET LIE LIP LOT
    LOW MAD MAN MAP MAY MEN MET MIX MOM MUD NET NEW NOR NOT NOW NUT OFF OIL OLD ONE OUR OUT OWN PAY
    PEN PET PIE PIG POP POT PUT RAN RAT RED RID ROW RUN SAD SAW SAY SEA SEE SET SHE SIT SIX SKY SON
    SUN TAX TEA TEN THE TIE TIP TOE TOO TOP TOY TRY TWO USE VAN WAR WAS WAY WET WHO WHY WIN WON WOW
    YES YET YOU ZOO""".split()
)
"""Words of up to three letters, so that capitals may be emphasis."""

REGNAL: frozenset[str] = frozenset(
    """Henry Louis Elizabeth George Edward William Charles James Richard Pius Paul Benedict Francis
    Alexander Catherine Frederick Philip Ferdinand Nicholas Peter Ivan Leo Gregory Clement Innocent
    Urban Boniface Napoleon Wilhelm Ramesses Ramses Thutmose Amenhotep Ptolemy Darius Xerxes Mary
    Robert Malcolm David Haakon Harald Olav Gustav Carl Christian Margrethe Carlos Alfonso Felipe
    Baldwin Otto Leopold Maximilian Rudolf Joseph Franz Cleopatra Julius Sixtus Adrian John Anne
    Victor Umberto Albert Rainier Suleiman Mehmed Murad Selim Constantine Stephen""".split()
)
"""Names whose Roman numeral is an ordinal."""

NUMBERED_NOUNS: frozenset[str] = frozenset(
    """Chapter Part Section Volume Book Act Scene War Type Phase Level Class Figure Table Bowl
    Article Appendix Episode Season Title Stage Mark Apollo Gemini Schedule Grade Group Unit Lesson
    Canto Exhibit Step Division Rule Corps""".split()
)
"""Nouns whose Roman numeral is a cardinal, also when it is one letter."""

ROMAN_LOOKALIKES: frozenset[str] = frozenset(
    "MD DC CD MC DI DM CV LI MI MIX DIM CC MM CM XL CI DIV CIVIC MIL DL ML CL DX LCD".split()
)
"""Capitals that are rather something else than a Roman numeral."""

SPELLED_EXTENSIONS: frozenset[str] = frozenset(
    """pdf txt csv tsv xml html htm css js ts py cpp rb rs md jpg png svg bmp mp3 mp4 mkv avi mpg
    wav ogg docx xlsx pptx ppt xls exe dll tgz gz tar sh sql yml epub psd h5 ini cfg db""".split()
)
WORD_EXTENSIONS: dict[str, str] = {
    "jpeg": "jay peg", "json": "jason", "yaml": "yammel", "zip": "zip", "doc": "doc", "gif": "gif",
    "log": "log", "bat": "bat", "java": "java", "flac": "flack", "toml": "tommel", "wav": "wave",
    "tar": "tar", "sql": "sequel", "ini": "ini", "bin": "bin", "conf": "conf", "lock": "lock",
}
# fmt: on
