-- Surveys are lost; what was believed because of them stays.
DROP TABLE kryss.surveyed;
DROP TABLE kryss.survey;
