"""The words of the synthetic notes: names, diagnoses with their codes, and sentence templates.

Names are common first and last names from many languages, combined at random; no list of people
was used, and whoever carries one of the combinations does so by chance. Codes are those of
ICD-10-CM, fiscal year 2023. What stands beside a diagnosis is there to make a sentence, and is no
medical advice.
"""

from __future__ import annotations

_FIRST = """
Aaron Abigail Adam Adele Adrian Agatha Agnes Ahmed Aisha Alan Albert Alejandro Alexei Alice Alina
Alma Amara Amelia Amir Amy Ana Andrea Andrew Angela Anita Anna Anton Antonia April Arjun Arthur
Arturo Astrid Audrey Ayesha Barbara Basil Beatrice Bela Benedict Benjamin Bernadette Bernard Bertha
Bettina Bianca Bilal Blanca Boris Brenda Bridget Bruce Bruno Camila Carl Carla Carmen Caroline
Cecilia Cedric Celia Charles Chloe Christina Claire Clara Clement Colin Conrad Cora Cyril Dalia
Damian Daniel Daphne Darius David Dawit Deborah Delia Derek Diana Diego Dina Dmitri Dolores Dominic
Donna Dorothy Edgar Edith Edmund Edward Eileen Eleanor Elena Elias Elizabeth Ellen Elsa Emil Emilio
Emma Emmanuel Enrique Eric Erik Ernest Erwin Estelle Esther Eugene Eva Evelyn Fabian Farid Fatima
Felix Fernando Fiona Flora Florence Frances Francis Frank Franz Frida Gabriel Gavin George Geraldine
Gilbert Gita Gloria Grace Greta Guido Gustav Hamid Hana Hanna Harold Harriet Harvey Hassan Hector
Heidi Helen Henry Herbert Hilda Hiro Holly Howard Hugh Hugo Ibrahim Ida Igor Imran Ines Ingrid Irene
Iris Isaac Ivan Jack Jacob James Jane Jasmine Javier Jerome Joan Joanna Joel Johan Jonas Jorge
Joseph Josephine Juan Judith Julia Kamal Karen Karim Karl Katya Kavita Kenji Kevin Klara Lars Laura
Lawrence Layla Leila Lena Leon Leonard Leticia Lila Linda Louis Lucas Lucy Lydia Mabel Magda Malcolm
Marcus Margaret Maria Marina Martha Martin Mary Matteo Maurice Maya Mei Michael Milan Mira Miriam
Mohamed Mona Monica Nadia Naomi Natalie Nathan Neil Nikolai Nils Nina Noah Noor Nora Olga Oliver
Olivia Omar Oscar Oskar Otto Pablo Paloma Patricia Paul Paulina Peter Petra Philip Priya Quentin
Rachel Rafael Rahul Ralph Ramon Raymond Rebecca Renata Rita Robert Roland Ronald Rosa Roxana Rupert
Ruth Sabina Salma Samir Samuel Sandra Sara Sergio Sigrid Silvia Simon Sofia Sonia Stefan Stella
Sunil Susan Sylvia Tamara Tariq Tatiana Teresa Theo Thomas Tobias Tomas Uma Ursula Valentina Vera
Victor Vikram Vincent Viola Virginia Walter Wanda Wei Wilma Xavier Yara Yolanda Yuki Yusuf Zara Zoe
"""

_LAST = """
Abbott Acheson Acosta Adams Adler Aguilar Ahmad Akhtar Albright Allen Alvarez Ames Andersen Andrade
Archer Arias Armstrong Arnold Ashby Atkins Avery Ayala Bailey Baker Baldwin Ballard Banerjee Barnes
Barrett Barros Barton Bates Bauer Becker Bell Bender Bennett Benson Berg Bergman Bianchi Bishop
Blake Blanco Bloom Bolton Bond Bose Bowen Boyd Bradley Brandt Braun Brennan Briggs Brock Brooks
Bryant Burgess Burke Burns Bush Butler Byrd Byrne Cabrera Calderon Caldwell Cameron Campbell Cannon
Cardoso Carlson Carpenter Carr Carver Casey Castillo Cervantes Chambers Chandra Chang Chapman Chavez
Chen Chowdhury Christensen Clarke Clayton Cole Coleman Collins Conti Conway Cooper Correa Costa Cox
Craig Crawford Cross Cruz Cunningham Curtis Dalton Daly Daniels Das Davies Dawson Dean Decker
Delgado Dempsey Desai Dhillon Diaz Dietrich Dixon Dominguez Donovan Doyle Drake Dubois Duffy Duncan
Dunn Duran Eaton Ebert Ellis Engel Erickson Eriksen Escobar Espinoza Estrada Evans Farrell Faulkner
Fernandez Ferrari Figueroa Finch Fischer Fitzgerald Fleming Fletcher Flores Forbes Foster Fowler
Franco Fraser French Fritz Frost Fuchs Fuentes Fujita Gallagher Galvan Garcia Gardner Garrett Gates
Gibson Gill Glover Gomez Gonzalez Goodwin Gordon Gould Graham Grant Graves Greco Griffin Grover
Guerra Gupta Gutierrez Haas Haddad Hahn Hale Hall Hamilton Hammond Hansen Hardy Harper Harris
Hartmann Harvey Hassani Hayashi Hayes Heath Henderson Hendricks Hernandez Herrera Hill Hinton Hobbs
Hoffmann Hogan Holland Holm Holt Hoover Horn Horvath Howard Huber Hudson Hughes Hunt Hurst Hussain
Ibarra Ingram Ishikawa Ito Iyer Jacobs Jain Jankowski Jansen Jenkins Jensen Jimenez Johansson
Johnson Jones Joshi Juarez Kaplan Kapoor Kato Kaur Keane Keller Kelly Kemp Kennedy Kerr Khan Kim
Kimura Klein Knight Koch Kovacs Kowalski Kramer Krause Kruger Kumar Lambert Lane Lang Larkin Larsen
Lawson Leblanc Lee Lehmann Leon Leone Lewis Lindberg Lindgren Lloyd Logan Lopez Lozano Lucas Lund
Lynch Mackenzie Madsen Maier Maldonado Malik Mancini Mann Marino Marquez Marsh Mason Maxwell Medina
Mehta Mercer Meyer Miller Mills Miranda Mitchell Mohan Molina Montoya Moore Morales Moran Moreau
Morgan Morris Moss Mueller Murphy Murray Nair Nakamura Navarro Neal Nelson Neumann Newman Nguyen
Nichols Nielsen Nolan Norris Novak Oakley Ochoa Okafor Oliveira Olsen Ortega
Ortiz Osborne Osman Otero Owens Palmer Park Parsons Pascal Patel Payne Pearce Pena Pereira Perez
Perry Peters Petersen Pham Phillips Pierce Pinto Pollard Popov Porter Powell Prakash Price Quinn
Quintero Rahman Ramirez Ramsey Rao Rasmussen Reddy Reeves Reid Reyes Rhodes Richter Rios Rivera
Robinson Rocha Rosenberg Ross Rossi Rowe Roy Ruiz Russo Ryan Saito Salazar Sanchez Sandoval Santos
Sato Sawyer Schmidt Schneider Schultz Serrano Sethi Shah Sharma Shaw Silva Simmons Sinclair Singh
Skinner Sloan Snyder Solis Sorensen Soto Spencer Stanton Stein Stokes Stone Strand Sutton Suzuki
Swanson Tanaka Tate Thornton Tiwari Toledo Torres Tran Travis Trujillo Tucker Turner Underwood
Valdez Varga Vargas Vaughn Vega Velasco Vogel Wade Wagner Wallace Walsh Walters Wang Ward Warren
Watanabe Weaver Webb Weber Wells Wheeler Whitaker White Williams Winkler Winters Wolf Wood Wright Wu
Yamada Yang Yilmaz York Young Zamora Zhang Ziegler Zimmer
"""

_MONTHS = ("January February March April May June July August September October November "
           "December")

FIRST_NAMES, LAST_NAMES, MONTHS = (tuple(line.split()) for line in (_FIRST, _LAST, _MONTHS))
YEARS = tuple(str(year) for year in range(2015, 2025))

# name | code | complaint | finding | treatment; in each specialty, the commonest first
DIAGNOSES = {
    "oncology": """
lung cancer|C34.90|cough with bloody sputum|a spiculated nodule|pembrolizumab
breast cancer|C50.919|a painless breast lump|an irregular breast mass|letrozole
prostate cancer|C61|weak urinary stream|a hard prostate nodule|leuprolide
colon cancer|C18.9|blood in the stool|an obstructing colonic tumour|resection and oxaliplatin
melanoma|C43.9|a changing mole|an ulcerated pigmented lesion|wide excision
multiple myeloma|C90.00|bone pain at night|multiple lytic lesions|bortezomib
bladder cancer|C67.9|painless red urine|a papillary bladder growth|transurethral resection
ovarian cancer|C56.9|bloating and early satiety|a complex adnexal mass|carboplatin
pancreatic cancer|C25.9|jaundice without pain|a dilated bile duct|gemcitabine
gastric cancer|C16.9|vomiting after meals|a thickened stomach wall|partial gastrectomy""",
    "cardiology": """
hypertension|I10|morning headaches|raised blood pressure|lisinopril
heart failure|I50.9|breathlessness when lying flat|an enlarged heart|furosemide
atrial fibrillation|I48.91|irregular palpitations|an irregular pulse without P waves|apixaban
coronary artery disease|I25.10|chest tightness on exertion|narrowed coronary arteries|atorvastatin
myocardial infarction|I21.4|crushing chest pain|elevated troponin|aspirin and clopidogrel
aortic stenosis|I35.0|fainting on stairs|a harsh systolic murmur|valve replacement
pulmonary embolism|I26.99|sudden breathlessness|a filling defect in the pulmonary artery|heparin
mitral insufficiency|I34.0|fatigue on exertion|a regurgitant mitral jet|ramipril
acute pericarditis|I30.9|sharp pain when leaning back|a pericardial rub|colchicine
dilated cardiomyopathy|I42.0|swollen legs|a dilated left ventricle|carvedilol""",
    "respiratory": """
asthma|J45.909|wheezing at night|reversible airflow obstruction|inhaled budesonide
chronic obstructive pulmonary disease|J44.9|chronic cough|hyperinflated lungs|tiotropium
pneumonia|J18.9|fever and productive cough|lobar consolidation|amoxicillin
obstructive sleep apnea|G47.33|loud snoring|frequent apneic episodes|positive airway pressure
pleural effusion|J90|dull chest pain|fluid above the diaphragm|thoracentesis
pulmonary fibrosis|J84.112|dry cough|honeycombing at both bases|nintedanib
bronchiectasis|J47.9|copious sputum|dilated thickened bronchi|azithromycin
pneumothorax|J93.9|sudden pleuritic pain|a collapsed upper lobe|a chest drain
pulmonary sarcoidosis|D86.0|dry cough and rash|enlarged hilar nodes|prednisone
pulmonary tuberculosis|A15.0|drenching sweats|a cavity in the upper lobe|isoniazid and rifampin""",
    "neurology": """
migraine|G43.909|throbbing headache with nausea|no focal deficit|sumatriptan
epilepsy|G40.909|a witnessed seizure|epileptiform discharges|levetiracetam
ischemic stroke|I63.9|sudden slurred speech|an acute cerebral infarct|alteplase
Alzheimer disease|G30.9|memory loss|hippocampal atrophy|donepezil
Parkinson disease|G20|a resting tremor|cogwheel rigidity|levodopa
multiple sclerosis|G35|blurred vision in one eye|periventricular plaques|ocrelizumab
Bell palsy|G51.0|a drooping face|weakness of one facial nerve|prednisolone
myasthenia gravis|G70.00|double vision by evening|fatigable ptosis|pyridostigmine
amyotrophic lateral sclerosis|G12.21|progressive limb weakness|widespread fasciculations|riluzole
Huntington disease|G10|involuntary movements|caudate atrophy|tetrabenazine""",
    "psychiatry": """
major depressive disorder|F33.1|low mood|psychomotor slowing|sertraline
generalized anxiety disorder|F41.1|constant worry|marked restlessness|escitalopram
alcohol dependence|F10.20|shaking hands|a coarse tremor|naltrexone
bipolar disorder|F31.9|racing thoughts|pressured talk|lithium
opioid dependence|F11.20|craving and sweating|pinpoint pupils|buprenorphine
post-traumatic stress disorder|F43.10|recurrent nightmares|hypervigilance|prazosin
schizophrenia|F20.9|hearing voices|disorganised thought|risperidone
attention deficit disorder|F90.9|poor concentration|distractible behaviour|methylphenidate
obsessive-compulsive disorder|F42.9|intrusive thoughts|ritualised washing|fluoxetine
anorexia nervosa|F50.00|fear of weight gain|severe emaciation|supervised refeeding""",
    "infections": """
urinary tract infection|N39.0|burning urination|leukocytes in the urine|nitrofurantoin
COVID-19|U07.1|loss of smell|bilateral ground glass opacities|nirmatrelvir
cellulitis|L03.90|a hot swollen leg|spreading erythema|cephalexin
shingles|B02.9|a painful rash|grouped vesicles in one dermatome|valacyclovir
sepsis|A41.9|rigors and confusion|raised lactate|broad-spectrum antibiotics
chronic hepatitis C|B18.2|persistent tiredness|detectable hepatitis RNA|sofosbuvir
chronic hepatitis B|B18.1|upper abdominal discomfort|positive surface antigen|tenofovir
HIV disease|B20|unexplained weight loss|a low CD4 count|bictegravir
Lyme disease|A69.20|an expanding rash|erythema migrans|doxycycline
syphilis|A53.9|a painless ulcer|reactive serology|penicillin""",
    "gastroenterology": """
gastroesophageal reflux|K21.9|heartburn|an irritated oesophagus|omeprazole
fatty liver|K76.0|mild tiredness|an echogenic liver|weight reduction
gallstones|K80.20|colicky pain after fatty food|mobile stones with shadowing|cholecystectomy
diverticulitis|K57.32|left lower abdominal pain|inflamed diverticula|metronidazole
acute appendicitis|K35.80|migrating abdominal pain|a distended appendix|appendectomy
ulcerative colitis|K51.90|bloody diarrhoea|continuous mucosal inflammation|mesalamine
Crohn disease|K50.90|cramps and diarrhoea|skip lesions in the ileum|infliximab
celiac disease|K90.0|bloating after bread|villous atrophy|a gluten-free diet
alcoholic cirrhosis|K70.30|yellow eyes|a shrunken nodular liver|spironolactone
acute pancreatitis|K85.90|boring epigastric pain|elevated lipase|intravenous fluids""",
    "endocrinology": """
type 2 diabetes|E11.9|thirst and frequent urination|raised fasting glucose|metformin
hypothyroidism|E03.9|feeling cold|elevated thyrotropin|levothyroxine
obesity|E66.9|knee pain from weight|a high body mass index|semaglutide
osteoporosis|M81.0|loss of height|low bone density|alendronate
gout|M10.9|a red swollen toe|urate crystals|allopurinol
hyperthyroidism|E05.90|heat intolerance|suppressed thyrotropin|methimazole
type 1 diabetes|E10.9|rapid weight loss|ketones in the blood|insulin glargine
chronic kidney disease|N18.4|swollen ankles|small echogenic kidneys|sodium bicarbonate
Addison disease|E27.1|darkened skin|low morning cortisol|hydrocortisone
acromegaly|E22.0|enlarging hands|a pituitary adenoma|octreotide""",
}

# What stands in braces is filled in; fields must not touch another field's words.
SLOTS = (
    ("{name} , record number {number} , was admitted on {date} .",
     "On {date} we saw {name} ( record {number} ) .",
     "Patient : {name} . Number : {number} . Date : {date} .",
     "{name} , hospital number {number} , attended the clinic on {date} .",
     "Seen on {date} : {name} , identifier {number} .",
     "We reviewed {name} , number {number} , on the ward on {date} .",
     "Referral of {date} concerning {name} , file {number} .",
     "Letter about {name} ( chart {number} ) , dictated {date} ."),
    ("The patient reports {complaint} .", "Main complaint : {complaint} .",
     "Presented with {complaint} .", "Came in because of {complaint} .",
     "History includes {complaint} for some weeks .", "There was {complaint} since spring .",
     "Symptoms began with {complaint} .", "Relatives describe {complaint} ."),
    ("Examination showed {finding} .", "Tests revealed {finding} .", "We found {finding} .",
     "Results were notable for {finding} .", "Investigation demonstrated {finding} .",
     "On assessment we noted {finding} .", "Workup confirmed {finding} .",
     "The report describes {finding} ."),
    ("Diagnosis : {diagnosis} .", "This is consistent with {diagnosis} .",
     "Impression : {diagnosis} .", "We diagnosed {diagnosis} .", "Coded as {diagnosis} .",
     "Final assessment : {diagnosis} .", "Known case of {diagnosis} .",
     "The team concluded {diagnosis} ."),
    ("Started on {treatment} .", "Treated with {treatment} .", "Plan : {treatment} .",
     "Management consists of {treatment} .", "We recommended {treatment} .",
     "Responded well to {treatment} .", "Therapy continues with {treatment} .",
     "Consented to {treatment} ."),
    ("Follow up in clinic .", "Discharged home today .", "Return if symptoms worsen .",
     "Review in six weeks .", "Next visit after holidays .", "Family was informed .",
     "Copy sent to the practice .", "Blood tests before next appointment ."),
)
