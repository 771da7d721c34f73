"""Sample posts about software, books and music."""

from __future__ import annotations

from myapp.sample.topic import Topic, paragraphs, titles

SOFTWARE = Topic(
    titles=titles("""
        Delete the feature flag | old feature flags
        A cache is a promise | caching
        The bug that came on Wednesdays | a weekly bug
        Names are the cheapest refactoring | naming things
        What our slowest query taught us | slow queries
        Logs that somebody will read | logging
        Migrations on a Friday, carefully | schema changes
        The test that never failed | tests that cannot fail
        Writing the runbook first | runbooks
        A queue is not a database | queues
        Small pull requests, large teams | small changes
        Time zones: a confession | time zones
        Retries make it worse, until they do not | retries
        The spreadsheet we did not replace | a good spreadsheet
        Reading code out loud | reading code
        On call with a newborn | being on call
        The three-line fix, in nine days | a three-line fix
        Feature complete, and then accessible? | accessibility
        How we cut the build to four minutes | the build
        Pagination is harder than it looks | pagination
    """),
    openings=paragraphs("""
        We argued about {subject} for most of a quarter. In the end it was a new colleague in her
        second week who asked what it was for, and the room went quiet in a useful way.

        Nobody gets promoted for {subject}. It is a pity, for it is what decides whether the rest of
        us sleep.

        Here is a story about {subject}. No customer was harmed, though one did send us a drawing of
        an hourglass.
    """),
    middles=paragraphs("""
        Measure it before you improve it, and write the figure down where you cannot edit it. Our
        first guess was wrong by a factor of twenty. It was also the guess of everybody in the room
        with more than ten years' experience.

        The obvious solution worked on my machine, in the demonstration, and for the first nine
        hundred users. The next hundred were the ones with two browser tabs.

        Make the right thing the short thing. If the safe call takes four lines and the other takes
        one, you have already chosen what your colleagues will type in a hurry.

        We wrote down what may never happen, in one sentence, and then a test that tried for an hour
        to make it happen. It took nine minutes. That was the best hour of the project.

        Errors should say what to do. “Invalid state” was true, and it cost us an evening; the
        message is now two lines long, with the command in it, and nobody has asked since.

        There is a version of this with a diagram and three new services. We drew it, admired it,
        and kept the function. It has forty lines, and a comment that says why.
    """),
    endings=paragraphs("""
        It has been quiet for five months. I still look at the graph on Wednesdays.

        None of this is new. We had all read it somewhere; being there is another thing.
    """),
)

BOOKS = Topic(
    titles=titles("""
        Reading one long novel all winter | a very long novel
        The library's strangest shelf | shelf 793
        Books I lent and miss | lent books
        A reading group that argues | our reading group
        Marginalia by a stranger | somebody else's pencil
        In defence of stopping at page fifty | giving a book up
        Dictionaries for pleasure | dictionaries
        Poems by heart, one a month | learning poems by heart
        The second-hand shop with no sign | a shop with no sign
        Translators on the cover, please | translators
        Reading aloud to grown-ups | reading aloud
        A shelf for books about water | books about water
        Footnotes worth the journey | footnotes
        Maps at the front of novels | maps in novels
        What my father underlined | my father's books
        Rereading, at last | rereading
        Mending a spine with wheat paste | broken spines
        Short stories on short journeys | short stories
        A year without buying a book | a year of the library
        Children's books for a bad week | children's books
    """),
    openings=paragraphs("""
        For a long time I thought that {subject} was something for other people, with better lamps.
        Then the boiler broke, and for nine days there was nothing to do but sit near the oven and
        read.

        Our librarian has views on {subject}. She gives them in instalments, one to each loan, and I
        have taken to borrowing thinner books.

        I owe {subject} a friendship, two apologies and a fine of four euros. It was cheap.
    """),
    middles=paragraphs("""
        Forty pages is a fair trial. By then you know the voice, as you know it of a guest by the
        soup, and you may decide whether they stay for the cheese.

        Pencil only, and small. What seems brilliant at midnight ought to be easy to remove. I have
        kept about one note in ten, and most of those are questions.

        We read it in two translations at once, turn by turn, and the quarrel over one adjective
        lasted until the last bus. The author, I think, would have taken neither side.

        Somebody had been there before me: a tram ticket at the third chapter, from a city where the
        line no longer runs. I put it back where it was. It was a good place to stop.

        There is a silence after the last page that ought to be left alone. I put the kettle on and
        do not speak to anyone about it until the next day, and nor should you.

        Nobody needs another list, so this is only a direction: go in without a title in mind, turn
        left, and take the third thing that makes you tilt your head.
    """),
    endings=paragraphs("""
        It is due back on the fourteenth. You may have it after me; mind the ticket.

        I have twelve more waiting by the bed, in the order in which I shall not read them.
    """),
)

MUSIC = Topic(
    titles=titles("""
        Starting the violin at forty-six | the violin
        A choir for people who cannot sing | our choir
        Tuning a piano nobody tuned since 1988 | a neglected piano
        The metronome is not your enemy | the metronome
        Learning by ear in a noisy flat | playing by ear
        Songs from my aunt's kitchen | kitchen songs
        How we record a band in a garage | recording at home
        The quietest drum kit in the building | drums in a block of flats
        Reading music slowly, forever | sight-reading
        An accordion by post | a mail-order accordion
        Practising for ten minutes | ten minutes a day
        The bass player's view | playing the bass
        A concert for eleven people | very small concerts
        Duets across two time zones | duets by video
        What a lute taught me about patience | the lute
        Harmony at the bus stop | singing in thirds
        Our village band turns ninety | the village band
        Making a cigar-box guitar | a home-made guitar
        Stage fright, after thirty years | stage fright
        Listening to one record for a month | a month with one record
    """),
    openings=paragraphs("""
        I was told that {subject} would be good for me, in the way that people say it of cold water.
        They were right, and I have forgiven them, though it took a winter.

        There is a right way to go about {subject}, and I have met several people who know it. None
        of them plays in our front room on a Sunday, so this is about the other way.

        When I tell people about {subject}, they ask how long it takes to be good at it. I have
        begun to answer with the bus timetable: it depends on where you get on.
    """),
    middles=paragraphs("""
        Slow is the whole method. If a bar goes wrong at speed, it has been wrong all along; at half
        the tempo you can hear where. It is not exciting. It works every time.

        Leave the instrument out. In its case it is a project; on the chair it is a habit. Mine has
        collected some dust and a small scratch, and is played six days in seven.

        Record yourself on the telephone, and wait a day before you listen. You will hear two faults
        that you did not know of, and one phrase that is better than you had dared to think.

        Find somebody a little better and somebody a little worse. From one you learn the piece, and
        from the other you learn what it is that you know, because you have to say it.

        The neighbours were asked first, with cake. We agreed on hours and a signal: two knocks on
        the pipe. In three years there have been two knocks, and one was a request.

        Not everything has to be performed. Some pieces are for the evening and the open window, and
        they go on sounding in the head on the way to work, which may be the better concert.
    """),
    endings=paragraphs("""
        That is all the advice I have. The rest is in the next ten minutes, with the door shut.

        We meet on the first Friday. No audition; the second altos have the biscuits.
    """),
)
