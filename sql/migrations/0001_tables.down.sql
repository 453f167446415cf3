-- The extensions stay: other schemas of the database may use them.
DROP TABLE kryss.release;
DROP TABLE kryss.assignment;
DROP TABLE kryss.intersection_version;
DROP TABLE kryss.intersection;
DROP TABLE kryss.object_version;
DROP TABLE kryss.object;
DROP TABLE kryss.sighting;
DROP TABLE kryss.detection;
DROP TABLE kryss.rejected_pose;
DROP TABLE kryss.photo_result;
DROP TABLE kryss.rejected_entity;
DROP TABLE kryss.image;
DROP TABLE kryss.municipality;
