"""Names, towns and bios of the sample users."""

# ruff: noqa: RUF001 - names are written as their bearers write them
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Region:
    """Given names, family names and towns that are found together."""

    given: tuple[str, ...]
    family: tuple[str, ...]
    towns: tuple[str, ...]


def _region(given: str, family: str, towns: str) -> Region:
    return Region(given=tuple(given.split()), family=tuple(family.split()), towns=tuple(towns.split(", ")))


REGIONS = (
    _region(
        "Amara Chidi Ngozi Emeka Ifeoma Obinna Adaeze Kelechi Zainab Tunde",
        "Okafor Adeyemi Eze Balogun Nwosu Okonkwo Bello Afolabi Obi Danjuma",
        "Lagos, Enugu, Ibadan",
    ),
    _region(
        "Wanjiru Kamau Achieng Otieno Njeri Mwangi Akinyi Kiprono Halima Baraka",
        "Kariuki Odhiambo Wambui Kiptoo Ochieng Mutua Njoroge Cheruiyot Abdi Maina",
        "Nairobi, Kisumu, Mombasa",
    ),
    _region(
        "Aarav Priya Rohan Ananya Vikram Meera Arjun Kavya Sanjay Lakshmi",
        "Sharma Iyer Patel Banerjee Reddy Nair Kulkarni Singh Chatterjee Menon",
        "Pune, Kolkata, Kochi",
    ),
    _region(
        "Mei Wei Jing Hao Xin Yan Lei Fang Jun Li",
        "Chen Wang Zhang Liu Zhao Huang Zhou Xu Lin Guo",
        "Chengdu, Taipei, Xiamen",
    ),
    _region(
        "Haruka Kenji Yuki Sota Aiko Daichi Naoko Ren Emi Takumi",
        "Tanaka Suzuki Watanabe Ito Kobayashi Yamamoto Mori Fujita Okada Hayashi",
        "Sapporo, Kyoto, Fukuoka",
    ),
    _region(
        "Minjun Seoyeon Jiho Hana Dohyun Jiwoo Eunji Taeyang Sumin Haneul",
        "Kim Park Choi Jung Kang Yoon Lim Han Seo Shin",
        "Busan, Seoul, Jeonju",
    ),
    _region(
        "María Diego Lucía Javier Camila Andrés Valentina Mateo Ximena Joaquín",
        "García Hernández Morales Quispe Rojas Castillo Vargas Mendoza Fuentes Paredes",
        "Oaxaca, Cusco, Valparaíso",
    ),
    _region(
        "João Beatriz Rafael Luísa Tiago Inês Caio Marina Davi Helena",
        "Silva Ferreira Almeida Souza Carvalho Ribeiro Nogueira Tavares Moraes Pires",
        "Recife, Porto, Curitiba",
    ),
    _region(
        "Camille Julien Élodie Mathieu Chloé Rémi Manon Théo Margaux Yannick",
        "Lefèvre Moreau Girard Rousseau Fournier Bonnet Chevalier Lambert Besson Garnier",
        "Nantes, Liège, Grenoble",
    ),
    _region(
        "Łukasz Zofia Katarzyna Tomasz Agnieszka Piotr Jana Ondřej Milena Dragan",
        "Kowalski Wiśniewski Novák Dvořák Zieliński Horvat Jovanović Kamiński Černý Petrović",
        "Kraków, Brno, Novi Sad",
    ),
    _region(
        "Søren Ingrid Lars Freja Mikko Aino Björn Astrid Eero Sigrún",
        "Lindqvist Hansen Virtanen Jónsson Bergström Nygård Koskinen Dahl Østergaard Mäkelä",
        "Bergen, Tampere, Aarhus",
    ),
    _region(
        "Layla Omar Yasmin Karim Noor Tariq Salma Idris Rania Samir",
        "Haddad Mansour Khalil Nasser Farouk Aziz Saleh Hamdan Younes Sabbagh",
        "Amman, Alexandria, Tunis",
    ),
    _region(
        "Elif Emre Zeynep Mert Defne Burak Shirin Dariush Parisa Kaveh",
        "Yılmaz Demir Kaya Şahin Aydın Tehrani Rostami Karimi Moradi Arslan",
        "İzmir, Shiraz, Bursa",
    ),
    _region(
        "Margaret Callum Siobhan Rhys Imogen Desmond Eleanor Fergus Bronwyn Marcus",
        "Whitaker O’Neill Llewellyn Campbell Ashworth Clarke Murphy Hughes Baptiste Fraser",
        "Sheffield, Cork, Swansea",
    ),
    _region(
        "Aroha Tane Mele Sione Leilani Kai Wiremu Talia Manu Lani",
        "Ngata Tuilagi Parata Kealoha Faleolo Henare Taumoepeau Kahananui Walker Vaka",
        "Rotorua, Apia, Hilo",
    ),
)

TRADES = (
    "Nurse",
    "Bus driver",
    "Cartographer",
    "Piano teacher",
    "Baker",
    "Retired engineer",
    "Student",
    "Midwife",
    "Carpenter",
    "Translator",
    "Data analyst",
    "Gardener",
    "Ferry pilot",
    "Librarian",
    "Sound technician",
    "Bookbinder",
    "Physics teacher",
    "Paramedic",
    "Potter",
    "Surveyor",
    "Illustrator",
    "Bicycle mechanic",
    "Botanist",
    "Web developer",
)

HABITS = (
    "Up early, rarely to any purpose.",
    "Keeps a notebook for each season.",
    "Will lend you the book, but not the pencil.",
    "Collects bus tickets and good questions.",
    "Sings second alto.",
    "Writes slowly, reads everything.",
    "Here for the comments, mostly.",
    "Has opinions about bread, all of them mild.",
    "Father of two, owner of no hens. Yet.",
    "Mother of three, who edit.",
    "Looks things up.",
    "Prefers the long way round.",
    "Recently repaired: one radio, one hinge.",
    "Always a flask, sometimes a plan.",
    "Learning a fourth language at the pace of a tram.",
    "Answers letters.",
)
