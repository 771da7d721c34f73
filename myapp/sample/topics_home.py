"""Sample posts about bread, gardens and bicycles."""

from __future__ import annotations

from myapp.sample.topic import Topic, paragraphs, titles

BREAD = Topic(
    titles=titles("""
        A rye loaf that keeps for a week | rye
        Sourdough without the folklore | sourdough
        What cold dough forgives | a night in the fridge
        Flatbreads for people in a hurry | flatbreads
        The year I stopped kneading | no-knead dough
        Baking in a borrowed kitchen | other people's ovens
        Why my crust went soft, and what fixed it | a crust that lasts
        Buns for thirty, before eight in the morning | buns by the tray
        Oat porridge bread, three attempts | porridge bread
        Salt: the cheapest improvement | salt
        Learning to read a crumb | the crumb
        Bread from the end of the bag | odd flours
        Steam, or the lack of it | steam
        Milling at home: worth the noise? | fresh flour
        The starter I killed twice | my starter
        Focaccia as a way to use up tomatoes | focaccia
        A small defence of the tin loaf | the plain tin loaf
        Corn bread from two grandmothers | corn bread
        How to share one oven with a family | a shared oven
        Crispbread, a winter project | crispbread
    """),
    openings=paragraphs("""
        I came to {subject} late, and mostly by accident. A neighbour left a paper bag on the step
        with a note that said only “be patient”, and it took me most of a year to find out what the
        note was about.

        Every book in the house has something to say about {subject}, and no two of them agree. So I
        did what I should have done first: I wrote down what I changed, one thing at a time, and
        tasted the result.

        My first attempts with {subject} went to the hens. They did not complain, which was kind,
        but they are not demanding. This is what I know forty loaves later.
    """),
    middles=paragraphs("""
        Weigh everything, water above all. A cup of flour can differ by a quarter between two people
        in the same kitchen, and most of the trouble that I used to blame on the weather was in the
        cup.

        Temperature is the ingredient that nobody lists. At nineteen degrees the dough took seven
        hours; at twenty-five it was ready in four and past its best in five. A cheap thermometer
        taught me more than any video.

        Wet your hands instead of flouring them. The dough still sticks a little, but what you add
        is water that it can use, not flour that stays as a grey line in the crumb.

        When it looks finished, give it five more minutes. Pale bread is safe and dull. The flavour
        is in the last stretch, when the kitchen begins to smell of nuts and you are certain that
        you have forgotten it.

        Then leave it alone. Cutting a hot loaf is a pleasure that you pay for with a gummy middle
        and a dry end. An hour on the rack is enough; two are better for anything dark.

        Of the equipment I bought, I use three things: a scale, a heavy pot with a lid, and a bent
        plastic scraper that came free with something else. The rest is in a box marked “baking”,
        which I move when I look for the scraper.
    """),
    endings=paragraphs("""
        If yours comes out flat, eat it anyway, with soup, and make it again on Thursday. The second
        loaf is where it begins.

        I still get it wrong about one time in six. I have stopped counting that as failure; it is
        breakfast either way.
    """),
)

GARDEN = Topic(
    titles=titles("""
        Tomatoes on a north-facing balcony | tomatoes in the shade
        What the slugs left us | a garden full of slugs
        A compost heap for impatient people | compost
        Beans up anything that stands still | climbing beans
        The pond that is really a washing-up bowl | a very small pond
        Saving seed, saving envelopes | saved seed
        Garlic: plant it and forget it | garlic
        An apple tree in the wrong place | our misplaced apple tree
        Watering less, on purpose | dry gardening
        Twelve square metres, one year | a plot of twelve square metres
        In praise of the ugly pumpkin | pumpkins
        Bees noticed before we did | planting for bees
        The hedge we nearly cut down | an old hedge
        Potatoes in sacks, weighed honestly | potatoes in sacks
        Herbs that survive neglect | hardy herbs
        Leaf mould, the slow gold | leaf mould
        A lawn given up | the end of a lawn
        Frost dates and other guesses | frost
        Rhubarb from my grandfather's crown | inherited rhubarb
        Weeds I have decided to like | a few chosen weeds
    """),
    openings=paragraphs("""
        Nobody warned me about {subject}. The seed packets are all sunshine and even rows, and then
        comes the actual month of May, with wind, and a cat who regards every bed as hers.

        We began with {subject} because there was nothing else that we could afford that spring. It
        turned out to be the best thing we did, and I would do it first if we moved again.

        A reader asked last month how we manage with {subject}. The short answer is that we watch
        more than we work. The long answer follows.
    """),
    middles=paragraphs("""
        Soil first. Ours was the sort of clay that you could throw pots with. Three autumns of
        leaves laid on top, not dug in, did what a hired machine had failed to do in a weekend.

        Keep a diary, even a bad one. Two words a day are enough: “beans up”, “first frost”. By the
        third year it is worth more than any calendar, because it is about your own wall and your
        own wind.

        Water in the morning, at the root, and seldom. A plant that is given a little every evening
        keeps its roots near the top and faints on the first hot day, out of habit.

        We lost about a third of everything to something with more legs or fewer. I used to fight
        for that third. Now I sow half as much again, and sleep better.

        The tools that last are the dull ones: a border fork with an ash handle, a knife, two
        buckets. A bucket carries weeds one way and apples the other, and makes a seat between.

        Children will eat nearly anything that they have pulled out of the ground themselves, soil
        included. Peas never reached the kitchen at all last year, and I count that as the best
        harvest we had.
    """),
    endings=paragraphs("""
        It is raining as I write, and everything out there is growing without my help. That is
        roughly the lesson.

        Come and look in September, when it is at its worst and most generous. Bring a bag.
    """),
)

BICYCLES = Topic(
    titles=titles("""
        A chain lasts longer than you think | a worn chain
        The repair café's most common fault | slow punctures
        Forty kilometres with a cello | cargo by bicycle
        Rescuing a bicycle from the canal | a drowned bicycle
        Brakes that stop, quietly | squealing brakes
        Winter tyres: an honest count | studded tyres
        Teaching an adult to ride | learning to ride at fifty
        Fenders first | fenders
        Truing a wheel with cable ties | a bent wheel
        What I carry, and what I never used | a tool roll
        The lamp that outlived three bicycles | good lamps
        One gear, one hill, one regret | riding with a single gear
        Saddle height in four minutes | saddle height
        Commuting in the rain, with data | the wet commute
        How to lock it so that it is there later | locks
        A child seat, reviewed by the child | riding with a child
        Old steel, new paint | an old steel frame
        The tandem question | tandems
        Grease is not oil | grease
        Selling the car, two years on | life without a car
    """),
    openings=paragraphs("""
        On Tuesdays a few of us mend bicycles in the back of the library, and if I had a coin for
        each question about {subject}, we could afford a second work stand.

        I put off {subject} for years, on the theory that it needed a shop, a special tool and
        somebody's uncle. It needed an afternoon, and nearly all of that was looking for a rag.

        This began as a note to my brother on {subject}. He did not read it, so here it is for
        everybody else.
    """),
    middles=paragraphs("""
        Clean it before you judge it. Half of what comes to us as broken is only dirty, and the
        other half is easier to see. Warm water, a drop of washing-up liquid, an old brush.

        Count turns. When you loosen something, write down how far, because the one certain thing
        about a bicycle that still works is the position in which you found its screws.

        Cables stretch, pads wear and spokes settle in, all in the first month and then hardly
        again. A new bicycle that has gone wrong is nearly always a bicycle that wants ten minutes
        after four weeks.

        Buy the second-cheapest part. The cheapest is soft, and the dear one is light, which is
        another word for thin. Nobody on the way to work has ever been saved by eleven grams.

        Listen. A click once a turn of the pedals is in the cranks or the shoes; once a turn of the
        wheel, it is a spoke or a leaf. We have sent home more than one rider with only a leaf
        removed, and they were delighted.

        The shop on the corner is not your enemy. Ask what they would do; pay for the half-hour;
        watch. I have learnt more over that counter than from any manual, and they have sold me
        every tyre since.
    """),
    endings=paragraphs("""
        Ride it round the block before you put the tools away. You will need the small spanner
        again. You always do.

        We are there on Tuesdays from six. Bring the bicycle, and a biscuit if you have one.
    """),
)
