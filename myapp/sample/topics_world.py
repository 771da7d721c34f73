"""Sample posts about trains, birds, the night sky and towns."""

from __future__ import annotations

from myapp.sample.topic import Topic, paragraphs, titles

TRAINS = Topic(
    titles=titles("""
        The night train, with earplugs | the night train
        Eleven hours to the sea, gladly | the long way to the sea
        A branch line in the rain | branch lines
        Changing at a station with no town | lonely junctions
        How to pack for four trains | light luggage
        Breakfast at the buffet in platform three | station buffets
        The conductor who knew every tree | a good conductor
        Crossing a border at walking pace | slow borders
        Travelling with a very old timetable | paper timetables
        The window seat, ranked | window seats
        A ferry that carries carriages | the train ferry
        What delays are for | delays
        Two weeks, one pass, no plan | a rail pass
        The loudest quiet coach | the quiet coach
        With children, by rail, in August | trains with children
        Mountains from the left-hand side | the mountain line
        A museum of one locomotive | a tiny railway museum
        Letters written between stations | writing on trains
        The last tram home | the last tram
        Sleeping upright, a short guide | sleeping upright
    """),
    openings=paragraphs("""
        People apologise to me about {subject}, as if I had been made to take it. I was not. I
        looked at the map, saw how long it would take, and booked it for that reason.

        The best hour of last year had to do with {subject}, a paper bag of cherries, and a delay
        that nobody in the compartment wanted to end.

        I have a theory about {subject}: it shows you a country from the side on which the laundry
        hangs. Here are some notes in support.
    """),
    middles=paragraphs("""
        Sit on the shady side in the morning and change after lunch. Regulars do it without a word,
        at the same junction, like birds on a wire.

        Bring something to share and a knife to cut it with. In twenty years I have been refused
        once, by a man who then took out a bigger cake than mine.

        The ticket was cheaper bought as three tickets. I do not claim to understand this. The woman
        at the counter did not either, but she stamped all three with care.

        Between the second and the third tunnel there is a valley with one house, and in its window
        a lamp that was lit at noon. I have passed it five times now, and it has always been lit.

        A connection of six minutes is a gamble, and one of forty is a gift. There is time for the
        square in front of the station, which is where a town keeps what it does not show to
        drivers.

        Nobody tells you how much of a journey is sound: the joints in the rail, the announcement in
        a language you have for soup and numbers only, the sudden quiet on a long bridge.
    """),
    endings=paragraphs("""
        I arrived four hours after the aeroplane and rather less tired. I would leave again
        tomorrow, on the 6:52.

        If you go, go on a weekday, out of season, and let one train leave without you.
    """),
)

BIRDS = Topic(
    titles=titles("""
        Swifts, back on the same Tuesday | the swifts
        A blackbird that does the kettle | our blackbird
        Counting geese, badly | counting geese
        The heron on the supermarket roof | an urban heron
        Owls for beginners | owls
        One hide, one flask, no rarities | a day in the hide
        Learning twelve songs in a spring | birdsong
        What the gulls know about lunch | gulls
        A nest box with a bad address | nest boxes
        Crows give presents, sometimes | crows
        The kingfisher took six years | kingfishers
        Sparrows, before they are gone | sparrows
        Night migration over the ring road | night migration
        A wren in the wood store | a very small wren
        Cranes at the edge of the map | cranes
        Feeding birds without feeding rats | the feeder
        The dawn chorus from a fire escape | the dawn chorus
        Ducks that are not mallards | the other ducks
        Binoculars: buy once | binoculars
        Jackdaws in pairs | jackdaws
    """),
    openings=paragraphs("""
        I had walked past {subject} for ten years before somebody told me to stand still. It is the
        whole trick, and it costs nothing, and it is astonishingly hard on a working day.

        My mother kept a list. I keep a chair. This spring, the chair was enough for {subject}, and
        for a cold that lasted until June.

        There are people who know everything about {subject}, and they have been very kind to me.
        The errors below are my own.
    """),
    middles=paragraphs("""
        Go at the same hour every day, not at the best hour once. What you want to know is what is
        ordinary; after a month of that, anything strange walks up and introduces itself.

        Learn the common voices first. When you can name eight without looking, the ninth stands out
        from the hedge like a wrong note, and you will turn your head before you know why.

        Write down the weather with it. An east wind in the second week of October has done more for
        our notebook than any guide, and two years out of three it comes on a Sunday.

        Keep your distance. If it has stopped eating to look at you, you are too near; step back
        until it forgets you, and then stay for twice as long as you meant to.

        The children's count was better than ours. They put down what they saw: “four brown, one
        angry”. We had put down what we expected.

        By noon it is mostly pigeons. I have come to look forward to noon, for they are handsome,
        and have time, and nobody has ever driven across the county to see them.
    """),
    endings=paragraphs("""
        Nothing happened, in the end, for about three hours. I can recommend it warmly.

        The notebook is on the sill. If you pass, add a line: even “none” counts.
    """),
)

SKY = Topic(
    titles=titles("""
        Saturn through a telescope from a flea market | Saturn
        The Milky Way, forty minutes by bus | the Milky Way
        An eclipse behind a cloud | the eclipse
        Meteors: bring a blanket | meteor showers
        Photographing the Moon with a telephone | the Moon
        Red torches and other manners | a star party
        Finding Andromeda with bare eyes | the Andromeda galaxy
        A dark sky ten steps from the door | the dark end of the garden
        Jupiter's moons, four evenings running | Jupiter's moons
        Noctilucent clouds, at last | noctilucent clouds
        Grinding a mirror in the cellar | a home-made mirror
        The star atlas with coffee on it | star atlases
        Satellites, too many | satellites
        Teaching seven-year-olds the Plough | the Plough
        Winter's best hour | Orion
        Sunspots, safely | the Sun
        The comet that did come | a real comet
        Aurora from a car park | the aurora
        Variable stars for patient people | variable stars
        Telling the time by the sky | the sky as a clock
    """),
    openings=paragraphs("""
        You need less for {subject} than the shops suggest. A coat, mainly. A second coat. Somebody
        who will come out with you the first time and not talk.

        I showed {subject} to forty people at the school last week. Thirty-eight of them said the
        same word, and I would say it too, if I were not in charge of the queue.

        It was cloudy for eleven nights. On the twelfth I went out for the bins, looked up, and
        there was {subject}, without any effort on my part.
    """),
    middles=paragraphs("""
        Give your eyes twenty minutes. It is a real change, a chemical one, and a single look at a
        bright screen undoes it. Those who complain of a bad sky have often just checked the
        weather.

        Look a little to one side of what is faint. The middle of the eye is for reading; its edge
        was made for wolves, and is far better at galaxies.

        A tripod is worth more than a bigger lens. At forty times, each heartbeat is an earthquake;
        on a firm stand the same cheap glass shows a ring, a gap, and a shadow.

        The forecast lies in both directions. I go by the swallows' wire across the road: if I can
        see it sharp at dusk, the night will hold. It is right about as often as the app.

        We asked the council to turn one lamp down. It took two letters and a petition with nine
        names. Now there is a lane where you can see the fourth magnitude, and a hedgehog.

        Draw it. A drawing makes you look for ten minutes where a photograph takes one second, and
        what you find in the tenth minute is yours.
    """),
    endings=paragraphs("""
        Then your feet are cold, and there is tea. The light that you saw had been on its way since
        before there was tea.

        Next clear Friday, behind the sports hall, from nine. Children free, and so is everybody.
    """),
)

TOWNS = Topic(
    titles=titles("""
        The bench that changed a street | one bench
        A library that lends drills | the library of things
        Markets, and when to go | the market
        How we got the crossing moved | a pedestrian crossing
        Every staircase in our town, walked | public stairs
        The baker, the cobbler and the lease | small shops
        A map of drinking fountains | drinking fountains
        Trees by petition | street trees
        What the night bus carries | the night bus
        A courtyard shared by nine families | our courtyard
        The mural nobody wanted, then everybody | the mural
        Rain gardens on our corner | a rain garden
        Street names and who chose them | street names
        The swimming pool's last summer | the old pool
        Quiet places within ten minutes' walk | quiet places
        Moving house by cargo bike | moving without a van
        The noticeboard outlives the app | the noticeboard
        A car park, on Sundays | the Sunday car park
        Lights in windows: an evening survey | lit windows
        Learning the neighbours' names | the neighbours' names
    """),
    openings=paragraphs("""
        It started with {subject}, and with a meeting to which four people came, one of them by
        mistake. He stayed. He is the treasurer now.

        I have lived here for nineteen years, and I noticed {subject} in the spring. Either it is
        new or I am.

        The city has a plan with two hundred pages and an index. I looked for {subject} and found
        nothing between “stormwater” and “subsidy”. So we went to see for ourselves.
    """),
    middles=paragraphs("""
        Count first. We stood on the corner with a clipboard for six mornings and wrote down who
        came by, how, and whether they stopped. Figures that you have been cold for are hard to
        argue with.

        Find the person whose job it is. There is always one, three corridors behind the desk, who
        has wanted somebody to ask for years, and who knows the form.

        Try it with chalk and chairs before you ask for concrete. What works for a weekend has a
        photograph; what does not work has cost you an afternoon and some chalk.

        Old people know where the water went before the pipes, and children know where the holes in
        the fences are. Between them you have a better survey than the official one.

        There was a complaint, and it was a fair one: nobody had thought of the deliveries. We moved
        it two metres. It is better there, and the man who complained now waters it.

        Put the date on it, and who to ring. The saddest thing in any town is a good idea from seven
        years ago, with nobody's name on it and a bag of leaves inside.
    """),
    endings=paragraphs("""
        It is not much, and it is there. I pass it twice a day and am still a little proud.

        If you would like the same on your corner, write to us. We have the form, and the chalk.
    """),
)
